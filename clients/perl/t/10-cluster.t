# Against the real program: the code of the manual as it stands, errors, status.
use 5.030;
use strict;
use warnings;

use Argon qw(:priorities);
use FindBin;
use lib "$FindBin::Bin/lib";
use Local::Cluster;
use Test::More;
use Time::HiRes qw(time);

argon();
my (undef, $port) = manager();
my $probe = client($port);

my $early = $probe->defer('My::Task::Trial', ['echo', 'early']);

# Three workers of three runtimes, if the manager knows what each can run.
my $worker = perl_worker($port, '--name', 'eval', '--workers', 2, '--allow-eval');
until_true('a worker', sub { $probe->server_status->{workers} >= 1 });
my $groups = until_groups();
if ($groups) {
    worker($port, '--name', 'commands', '--workers', 2);
    until_true('two workers', sub { $probe->server_status->{workers} >= 2 });
}

# Whether the manager says what runs where.
sub until_groups {
    my $end = time + 2;
    while (time < $end) {
        return 1 if @{ $probe->server_status->{groups} };
        $probe->pump(0.02);
    }
    return 0;
}

is($early->(), 'early', 'what was sent before there was a worker runs when there is one');

subtest 'the code of the manual' => sub {
    my $code = <<'END';
use Argon::Client;
my $client = Argon::Client->new(host => "mgrhost", port => 8000);
my $result = $client->process(sub { my ($x, $y) = @_; return $x + $y; }, [4, 7]);
my $deferred = $client->defer(sub { my ($x, $y) = @_; return $x + $y; }, [4, 7]);
print $deferred->();

use Argon::Simple;
connect 'mgrhost:8000';
my $r = process { $_[0] * $_[1] } 4, 7;          # a code ref: $r->() waits and returns 28
my ($res, $is_finished) = process { $_[0] * $_[1] } 4, 7;
do { select undef, undef, undef, 0.01 } until $is_finished->();
my $t = task 'My::Task::Class', @args;           # My::Task::Class->new(@args)->run on a worker
END
    $code =~ s/mgrhost:8000/127.0.0.1:$port/ and $code =~ s/"mgrhost", port => 8000/"127.0.0.1", port => $port/
        or die 'the code has changed';
    my $says = "print \"\\n\", join ' ', \$result, \$r->(), \$res->(), ref \$t->(), \"\\n\";\n";
    open my $perl, '-|', $^X, (map { "-I$_" } @INC), '-e', "my \@args = (a => 1);\n$code$says"
        or die "perl: $!";
    local $/;
    is(scalar <$perl>, "11\n11 28 28 HASH \n", 'runs as it stands');
    close $perl;
    is($?, 0, 'and ends well');
};

subtest 'results' => sub {
    my $client = client($port);
    is($client->process('My::Task::Trial', ['echo', "caf\x{e9}"]), "caf\x{e9}", 'of a class');
    my $factor = 3;
    is_deeply([map { $_->() } map { my $n = $_; $client->defer(sub { $n * $factor }) } 1 .. 20],
        [map { $_ * 3 } 1 .. 20], 'of closures');
    my @ids = map { $client->queue('My::Task::Trial', ['echo', $_], $PRI_LOW) } 1 .. 5;
    is_deeply([map { $client->collect($_) } reverse @ids], [reverse 1 .. 5], 'queue and collect');
    ok(!eval { $client->collect($ids[0]); 1 }, 'once each');
    my @payload = map { chr } 0 .. 255;
    my $bytes = join('', @payload) x 4_000;
    is($client->submit('perl:My::Task::Trial', ['bytes'])->(), "\x00\xff", 'bytes');
    is(length $client->process(sub { $_[0] }, [$bytes]), length $bytes, 'a megabyte');
    if ($groups) {
        is($client->call('echo', \$bytes), $bytes, 'of another runtime');
        is($client->call('noop'), '', 'which has its own tasks');
    }
    my $done = $client->defer('My::Task::Trial', ['sleep', 60]);
    until_true('it runs', sub { my %at = %{ $client->server_status->{pending} };
        grep { $_ eq $done->id } map { keys %$_ } values %at });
    $done->cancel;
    ok(!eval { $done->(); 1 }, 'a task is cancelled');
    is($@->outcome, 'cancelled', 'while it runs');
    my $limited = $client->submit('perl:My::Task::Trial', ['sleep', 60], time_limit => 0.1);
    ok(!eval { $limited->(); 1 } && $@->kind eq 'time_limit', 'or has run too long');
};

subtest 'errors' => sub {
    my $client = client($port);
    ok(!eval { $client->process(sub { die "boom\n" }); 1 }, 'a closure that dies');
    is("$@", "boom\n", 'has its message');
    ok(!eval { $client->process(sub { die 'here' }); 1 }, 'and its place');
    is("$@", "here at $0 line " . (__LINE__ - 1) . ".\n", 'in this file');
    is($@->type, 'die', 'its type');
    ok(!eval { $client->process('My::Task::Trial', ['object']); 1 }, 'an object');
    is_deeply([$@->type, "$@"], ['My::Task::Trial::Error', 'an error with 5'], 'has its class');
    ok(!eval { $client->process('My::Task::Trial', ['print_and_die']); 1 }, 'no such thing');
    ok(!eval { $client->process('No::Such::Class'); 1 }, 'a class that is not there');
    is($@->kind, 'unknown_task', 'is unknown');
    ok(!eval { $client->process('My::Task::Trial', ['kill']); 1 }, 'a task that kills its process');
    is_deeply([$@->outcome, $@->kind, scalar @{ $@->history }], ['failed', 'crashed', 3],
        'fails after three attempts');
    ok(!eval { $client->process('My::Task::Trial', ['exit']); 1 } && $@->kind eq 'crashed',
        'and so does one that exits');
    if ($groups) {
        ok(!eval { $client->call('perls:eval', []); 1 }, 'what nobody runs');
        is($@->reason, 'no_runner', 'is rejected');
    }
};

subtest 'status' => sub {
    my $client = client($port);
    my @slow = map { $client->defer('My::Task::Trial', ['sleep', 30]) } 1 .. 3;
    until_true('two run and one waits', sub {
        my $pending = $client->server_status->{pending}{eval};
        $pending && keys %$pending >= 2;
    });
    my %status = $client->server_status;
    cmp_ok($status{workers}, '>=', 1, 'workers');
    cmp_ok($status{total_capacity}, '>=', 2, 'capacity');
    cmp_ok($status{current_capacity}, '<', $status{total_capacity}, 'less of it free');
    like($status{queue_length}, qr/\A[01]\z/, 'a queue');
    my %ids = map { $_->id => 1 } @slow;
    my @pending = keys %{ $status{pending}{eval} };
    is((scalar grep { !$ids{$_} } @pending), 0, 'tasks by their ids');
    is((scalar grep { $_ < 0 || $_ > 30 } values %{ $status{pending}{eval} }), 0, 'and ages');
    $client->shutdown;
    ok(!eval { $slow[0]->(); 1 } && $@ =~ /shut down/, 'shutdown ends what has not ended');
    until_true('they are gone', sub {
        !keys %{ $probe->server_status->{pending}{eval} // {} } });
    is($client->process('My::Task::Trial', ['echo', 5]), 5, 'the client can be used again');
};

subtest 'examples' => sub {
    my @run = ($^X, "$FindBin::Bin/../examples/squares.pl", "127.0.0.1:$port");
    open my $squares, '-|', @run or die "perl: $!";
    is_deeply([<$squares>], [map { $_ ** 2 . "\n" } 1 .. 1_000], 'squares of 1,000 numbers');
    close $squares;
    is($?, 0, 'end well');
};

subtest 'no eval' => sub {
    stop($worker);
    perl_worker($port, '--name', 'strict', '--workers', 1);
    my $client = client($port);
    ok(!eval { $client->process(sub { 1 }); 1 }, 'shipped code is refused');
    like("$@", qr/this worker runs no code that clients ship; .*--allow-eval/, 'and why');
    is($client->process('My::Task::Trial', ['echo', 5]), 5, 'classes run');
};

done_testing;
