# Every frame of the golden vectors that a client or a pool process meets, both ways, byte for byte.
use 5.030;
use strict;
use warnings;

use Argon::Link;
use Argon::Pool;
use Argon::Retry;
use Argon::Status;
use Argon::Wire qw(take_frame);
use Argon::Wire::Native;
use Argon::Wire::Pool;
use FindBin;
use Test::More;

my $path = "$FindBin::Bin/../../../docs/vectors/frames.txt";
$path = $ENV{ARGON_VECTORS} if $ENV{ARGON_VECTORS};
open my $file, '<', $path or plan skip_all => "no golden vectors at $path: $!";
my @blocks = do { local $/ = ''; grep { !/\A#/ } <$file> };
cmp_ok(scalar @blocks, '>', 70, 'there are vectors');

# What only workers and managers say to each other.
my $others = qr{^native/(?:hello_worker|assign|recall|kill|ack_results|resend|report|grant
    |finished|returned|draining|capabilities|gone|ack_result_runs)}x;

my %seen;
for my $block (@blocks) {
    my %vector = $block =~ /^(name|content|payload|frame) (.*)$/mg;
    my ($name, $frame) = ($vector{name}, pack 'H*', $vector{frame});
    next if $name =~ $others && $name !~ /hello/;
    my $position = 0;
    my ($content, $body) = take_frame($frame, $position, 1 << 20);
    is($position, length $frame, "$name: one frame");
    is($content, $vector{content}, "$name: content");
    my $message = eval {
        $name =~ /^pool/
            ? Argon::Wire::Pool::decode($content, $body)
            : Argon::Wire::Native::decode($content, $body);
    };
    is($@, '', "$name: makes sense") or next;
    is(unpack('H*', $message->{payload}), $vector{payload}, "$name: payload");
    is(unpack('H*', encode($name, $message)), $vector{frame}, "$name: the same bytes again");
    $seen{"$message->{type}"}++;
}
my @met = qw(hello welcome refuse ping pong goodbye submit cancel resume ack_outcomes status_query
    outcome reject unknown status running_query running within paused submit_run outcome_run reject_run ready run completed failed run_many completed_many);
is_deeply([sort keys %seen], [sort @met], 'each message was met');

sub encode {
    my ($name, $m) = @_;
    return Argon::Wire::Native::encode($m) if $name !~ /^pool/;
    return Argon::Wire::Pool::ready($m->{capabilities}, $m->{version}[1]) if $m->{type} eq 'ready';
    my @payload = @$m{qw(content payload)};
    return Argon::Wire::Pool::run(@$m{qw(id name)}, @payload)      if $m->{type} eq 'run';
    return Argon::Wire::Pool::completed(@$m{qw(id ran)}, @payload) if $m->{type} eq 'completed';
    return Argon::Wire::Pool::run_many(@$m{qw(id name content payloads)}) if $m->{type} eq 'run_many';
    return Argon::Wire::Pool::completed_many(@$m{qw(id content rans payloads)})
        if $m->{type} eq 'completed_many';
    return Argon::Wire::Pool::failed(@$m{qw(id ran error)}, @payload);
}

# Fields are where they belong, not only where encoding and decoding agree.
my ($block) = grep { m{^name native/submit$}m } @blocks;
my ($hex) = $block =~ /^frame (.*)$/m;
my $at = 0;
my ($content, $body) = take_frame(pack('H*', $hex), $at, 1 << 20);
my $submit = Argon::Wire::Native::decode($content, $body);
is_deeply(
    $submit,
    {
        type => 'submit', seq => 7, priority => 4, max_attempts => 3, at_most_once => 0,
        may_have_run => 0, deadline => 10_000_000_000, max_wait => ~0, time_limit => 5_000_000_000,
        name => 'echo', content => 0, payload => 'hello',
    },
    'the fields of a Submit'
);

# What is cut off or makes no sense dies and does nothing else.
for my $block (@blocks) {
    my ($name, $hex) = $block =~ /^name (\S+).*^frame (\S+)/ms;
    next if $name =~ $others;
    my $frame = pack 'H*', $hex;
    my $pool  = $name =~ /^pool/;
    my $bad   = 0;
    for my $length (5 .. length($frame) - 1) {
        my $body = substr $frame, 5, $length - 5;
        my $message = eval {
            $pool ? Argon::Wire::Pool::decode(0, $body) : Argon::Wire::Native::decode(0, $body);
        };
        # Only of the payload can something be missing unnoticed.
        $bad++ if $message && $message->{type} !~ /^(?:submit|submit_run|outcome|outcome_run|run|completed|failed)$/;
    }
    is($bad, 0, "$name: too short is noticed");
}
for my $length (0 .. 3) {
    my $at = 0;
    is_deeply([take_frame("\1\0\0\0" x 1, $at, 9)], [], 'not complete') if $length == 0;
    is_deeply([take_frame("\0" x $length, $at, 9)], [], "a prefix of $length");
}
eval { my $at = 0; take_frame(pack('V', 10), $at, 9) };
like($@, qr/10 bytes, where at most 9/, 'a frame above the limit');
eval { Argon::Wire::Native::decode(0, pack 'V Q<', 13, ~0) };
like($@, qr/longer than its frame/, 'a list that is a lie');
my $ids = Argon::Wire::Native::IDS_MAX();
is(scalar @{ Argon::Wire::Native::decode(0, pack 'V Q<x' . 8 * $ids, 13, $ids)->{seqs} }, $ids, 'as many ids as may be');
eval { Argon::Wire::Native::decode(0, pack 'V Q<x' . 8 * ($ids + 1), 13, $ids + 1) };
like($@, qr/a list of 4097/, 'one id more');
eval { Argon::Wire::Native::decode(0, pack 'V v v Q< C Q< V', 1, 1, 0, 5, 2, 5, 5) };
like($@, qr/neither 0 nor 1/, 'a bool that is none');

for my $bad (
    [0, [], ''], [0, [3], 'abc'], [0, [1, 2], 'ab'], [0, [1, 2], 'abcd'], [0, [(0) x 1_025], ''],
    [0, [15_360, 15_361], 'x' x 30_721], [~0, [0, 0], ''],
) {
    my ($id, $sizes, $payload) = @$bad;
    my $count = @$sizes;
    my $run = pack('V Q< C a* Q< V*', 4, $id, 1, 'x', $count, @$sizes) . $payload;
    my $answers = pack('V Q< Q< V*', 5, $id, $count, map { (9, $_) } @$sizes) . $payload;
    ok(!eval { Argon::Wire::Pool::decode(0, $_); 1 }, "no run of $count: $@") for $run, $answers;
}
eval { Argon::Wire::Pool::decode(0, pack 'V Q< Q<', 5, 0, 1 << 60) };
like($@, qr/a run of 1152921504606846976/, 'a run that is a lie');

# The limits that the protocol's description states for clients in all languages.
SKIP: {
    my $page = "$FindBin::Bin/../../../docs/protocol.md";
    open my $text, '<', $page or skip "no description of the protocol at $page: $!", 10;
    my %stated = map { /\A\| (\D+) \| (\d+)(?: bytes| ms)? \|/ ? ($1 => $2) : () } <$text>;
    my %ours = (
        'frame of the handshake'     => Argon::Link::GREETING_MAX(),
        header                       => Argon::Wire::HEADER_MAX(),
        'payload, whatever `Welcome` says' => Argon::Link::PAYLOAD_MAX(),
        'ids in one message'         => Argon::Wire::Native::IDS_MAX(),
        'shortest lease'             => 1000 * Argon::Link::LEASE_MIN(),
        'longest lease'              => 1000 * Argon::Link::LEASE_MAX(),
        'longest advice in `Reject`' => 1000 * Argon::Retry::HINT_MAX(),
        'pages of status'            => Argon::Status::PAGES_MAX(),
        'text of an error'           => Argon::Pool::BACKTRACE(),
        'major version'              => Argon::Wire::MAJOR(),
    );
    is($stated{$_}, $ours{$_}, "the limit that is stated: $_") for sort keys %ours;
}

done_testing;
