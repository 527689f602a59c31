package Argon::Wire::Native;

use 5.030;
use strict;
use warnings;

use Argon::Wire qw(:all);
use Carp qw(croak);
use List::Util qw(max sum);

our $VERSION = '0.1.0';

use constant {
    IDS_MAX       => 4096,
    VERSION_MINOR => 1,    # of this protocol; the pool's has its own
    RUN_TASKS     => 1_024,    # most in a run: beyond a few dozen, more of them save nothing
    RUNS_MINOR    => 1,    # since when a message can speak of many tasks
};

our @REASONS = qw(
    queue_full queue_bytes_full displaced client_full in_flight_full too_slow draining no_workers
    too_large no_runner
);
our @REFUSALS = qw(version old_connection full bad_hello bad_capacity replaced
    key_required not_allowed other_holder);
our @OUTCOMES = qw(completed failed expired cancelled lost rejected);
our @ENDS     = qw(worker_gone worker_silent worker_replaced worker_drained child_crashed);
our @ROLES    = qw(client worker observer);

my %REASON_TAG  = map { $REASONS[$_]  => $_ } 0 .. $#REASONS;
my %REFUSAL_TAG = map { $REFUSALS[$_] => $_ } 0 .. $#REFUSALS;
my %OUTCOME_TAG = map { $OUTCOMES[$_] => $_ } 0 .. $#OUTCOMES;
my %END_TAG     = map { $ENDS[$_]     => $_ } 0 .. $#ENDS;
my %ROLE_TAG    = map { $ROLES[$_]    => $_ } 0 .. $#ROLES;

my $u64 = sub { pack 'Q<', $_[0] };

# Rows of a status: names of fields and how they are written (b bool, n name, ? of an option, v version, otherwise bytes).
my @MANAGER = (
    [epoch => 8], [uptime => 8], [draining => 'b'], [queued => 8],
    (map { ["queued_$_" => 8] } 0 .. 7),
    (
        map { [$_ => 8] } qw(
            queued_bytes queue_size queue_bytes returning unroutable unclaimed assigned unacknowledged
            orphans waiting oldest_wait estimated_wait capacity workers clients accepted rejected displaced
            completed not_completed attempts_lost rate
        )
    ),
);
my @WORKER = (
    [peer => 8], [name => 'n'], [holder => 'n?'], [connected => 'b'], [address => 'n?'], [version => 'v?'], [draining => 'b'],
    [doubted => 'b'],
    [capacity => 4], [window => 4], [assigned => 4], [oldest => 8], [finished => 8], [failed => 8], [average => 8],
    [slowness => 4], [last_heard => 8],
);
my @CLIENT = (
    [peer => 8], [name => 'n'], [holder => 'n?'], [connected => 'b'], [address => 'n?'], [version => 'v?'],
    (map { [$_ => 8] } qw(queued assigned unacknowledged finished rejected last_heard)),
);
my @RUNNING = ([peer => 8], [seq => 8], [name => 'n'], [worker => 'n'], [age => 8]);
my %READ = (8 => \&r_u64, 4 => \&r_u32, b => \&r_bool, n => \&r_name, v => sub { [r_u16(), r_u16()] });
my %WRITE = (
    8 => $u64,
    4 => sub { pack 'V', $_[0] },
    b => sub { pack 'C', $_[0] ? 1 : 0 },
    n => \&w_name,
    v => sub { pack 'vv', @{ $_[0] } },
);
for my $kind (qw(n v)) {
    my ($read, $write) = ($READ{$kind}, $WRITE{$kind});
    $READ{"$kind?"}  = sub { r_bool() ? $read->() : undef };
    $WRITE{"$kind?"} = sub { defined $_[0] ? "\1" . $write->($_[0]) : "\0" };
}

sub _row {
    my ($fields) = @_;
    return sub {
        return { map { $_->[0] => $READ{ $_->[1] }->() } @$fields };
    };
}

sub _row_bytes {
    my ($fields) = @_;
    return sub {
        my ($row) = @_;
        return join '', map { $WRITE{ $_->[1] }->($row->{ $_->[0] }) } @$fields;
    };
}

my %ENCODE = (
    hello => sub {
        my ($m) = @_;
        my $role = $ROLE_TAG{ $m->{role} };
        return join '', pack('V a4 v v V', 0, MAGIC, @{ $m->{version} // [MAJOR, VERSION_MINOR] }, $role),
            ($role == 1 ? pack('V', $m->{capacity}) : ()), pack('Q< Q<', @$m{qw(peer connection)}),
            (defined $m->{session} ? pack('C Q<', 1, $m->{session}) : "\0"), w_name($m->{name});
    },
    welcome => sub {
        my ($m) = @_;
        return pack 'V v v Q< C Q< V', 1, @{ $m->{version} // [MAJOR, VERSION_MINOR] },
            @$m{qw(epoch resumed lease payload_max)};
    },
    refuse => sub {
        my ($m) = @_;
        my $tag = $REFUSAL_TAG{ $m->{reason} };
        return pack('V V', 2, $tag) . ($tag == 0 ? pack('v v', @{ $m->{version} }) : '');
    },
    ping    => sub { pack 'V Q< Q<', 3, @{ $_[0] }{qw(nonce received)} },
    pong    => sub { pack 'V Q< Q<', 4, @{ $_[0] }{qw(nonce received)} },
    goodbye => sub { pack 'V', 5 },
    paused  => sub { pack 'V', 30 },
    cancel       => sub { pack 'V Q<',         7, $_[0]{seq} },
    resume       => sub { pack 'V Q</(Q<)',    8, @{ $_[0]{seqs} } },
    ack_outcomes => sub { pack 'V Q< Q</(Q<)', 9, $_[0]{floor}, @{ $_[0]{seqs} } },
    status_query => sub { pack 'V V',          10, $_[0]{page} },
    outcome      => sub {
        my ($m) = @_;
        my $tag = $OUTCOME_TAG{ $m->{outcome} };
        my $rest
            = $tag == 0 ? _last_bytes($m) . pack('C', $m->{charged})
            : $tag == 1 ? w_error($m->{error}) . _last_bytes($m) . w_list(\&_record_bytes, $m->{history})
            : $tag < 4  ? pack('C', $m->{may_have_run})
            : $tag == 4 ? w_list(\&_record_bytes, $m->{history})
            :   pack('V V', $REASON_TAG{ $m->{reason} }, $m->{retries})
              . w_list(\&w_name, $m->{similar});
        return pack('V Q< V', 11, $m->{seq}, $tag) . $rest;
    },
    reject => sub {
        my ($m) = @_;
        return pack('V Q< V Q< C', 12, $m->{seq}, $REASON_TAG{ $m->{reason} },
            @$m{qw(retry_after may_have_run)}) . w_list(\&w_name, $m->{similar});
    },
    reject_run => sub {
        my ($m) = @_;
        return pack('V Q< V V Q< C', 36, @$m{qw(seq count)}, $REASON_TAG{ $m->{reason} },
            @$m{qw(retry_after may_have_run)});
    },
    unknown => sub { pack 'V Q</(Q<)', 13, @{ $_[0]{seqs} } },
    status  => sub {
        my ($m) = @_;
        return join '', pack('V', 14), _row_bytes(\@MANAGER)->($m->{manager}),
            w_list(_row_bytes(\@WORKER), $m->{workers}),
            w_list(_row_bytes(\@CLIENT), $m->{clients}),
            w_list(\&_group_bytes, $m->{groups}), pack('C', $m->{more});
    },
    running_query => sub { pack 'V V', 26, $_[0]{page} },
    within        => sub { pack 'V Q< V Q<', 28, @{ $_[0] }{qw(worker slot life)} },
    outcome_run   => sub {
        my ($m) = @_;
        return join '', pack('V Q< Q< C', 34, @$m{qw(seq waited charged)}), w_name($m->{worker}),
            pack('Q< (v V V)*', scalar @{ $m->{ends} }, map { @$_{qw(offset ran size)} } @{ $m->{ends} });
    },
    running       => sub {
        my ($m) = @_;
        return pack('V', 27) . w_list(_row_bytes(\@RUNNING), $m->{tasks}) . pack('C', $m->{more});
    },
);

# A Submit, which is most of what goes; with the bytes of its name, and the nanoseconds left.
sub submit {
    my ($task, $left) = @_;
    my $length = 41 + length($task->{wire_name}) + length $task->{payload};
    return pack('V C V Q< C4 Q<3', $length, $task->{content}, 6, $task->{seq},
        @$task{qw(priority max_attempts at_most_once may_have_run)}, $left,
        @$task{qw(max_wait time_limit)}) . $task->{wire_name} . $task->{payload};
}

# A SubmitRun: many of that, which differ from the first in their payloads alone and follow it.
sub submit_run {
    my ($task, $left, $payloads) = @_;
    my $joined = join '', @$payloads;
    my $length = 49 + length($task->{wire_name}) + 4 * @$payloads + length $joined;
    return pack('V C V Q< C4 Q<3 a* Q< V*', $length, $task->{content}, 31, $task->{seq},
        @$task{qw(priority max_attempts at_most_once may_have_run)}, $left,
        @$task{qw(max_wait time_limit wire_name)}, scalar @$payloads, map { length } @$payloads) . $joined;
}

sub encode {
    my ($message) = @_;
    if ($message->{type} =~ /^submit/) {
        my $task = { %$message, wire_name => w_name($message->{name}) };
        return submit($task, $message->{deadline}) if $message->{type} eq 'submit';
        return submit_run($task, $message->{deadline},
            [unpack join('', map { "a$_" } @{ $message->{sizes} }), $message->{payload}]);
    }
    my $header = ($ENCODE{ $message->{type} } // croak "cannot say $message->{type}")->($message);
    return frame($message->{content} // PLAIN, $header, $message->{payload} // '');
}

my %DECODE = (
    0  => \&_hello,
    1  => \&_welcome,
    2  => \&_refuse,
    3  => sub { { type => 'ping', nonce => r_u64(), received => r_u64() } },
    4  => sub { { type => 'pong', nonce => r_u64(), received => r_u64() } },
    5  => sub { { type => 'goodbye' } },
    6  => \&_submit,
    7  => sub { { type => 'cancel', seq => r_u64() } },
    8  => sub { { type => 'resume', seqs => r_list(\&r_u64, IDS_MAX) } },
    9  => sub { { type => 'ack_outcomes', floor => r_u64(), seqs => r_list(\&r_u64, IDS_MAX) } },
    10 => sub { { type => 'status_query', page => r_u32() } },
    11 => \&_outcome,
    12 => \&_reject,
    13 => sub { { type => 'unknown', seqs => r_list(\&r_u64, IDS_MAX) } },
    14 => \&_status,
    26 => sub { { type => 'running_query', page => r_u32() } },
    27 => sub { { type => 'running', tasks => r_list(_row(\@RUNNING)), more => r_bool() } },
    28 => sub { { type => 'within', worker => r_u64(), slot => r_u32(), life => r_u64() } },
    30 => sub { { type => 'paused' } },
    31 => sub { return { %{ _submit() }, type => 'submit_run', sizes => r_list(\&r_u32) } },
    34 => \&_outcome_run,
    36 => \&_reject_run,
);
my %HAS_PAYLOAD = map { $_ => 1 } 6, 11, 31, 34;

# Names of workers that were read before, by their bytes.
use constant WORKERS_MAX => 1_024;
my %WORKERS;

sub decode {
    my ($content, $body) = @_;
    my $tag = unpack 'V', $body;
    # A completed task's outcome is most of what comes.
    if (($tag // 0) == 11 && length $body >= 33 && substr($body, 12, 4) eq "\0\0\0\0") {
        my ($seq, $ran, $waited, $worker, $charged) = unpack 'x4 Q< x4 Q< Q< C/a C', $body;
        if (defined $charged && $WORKERS{$worker}) {
            return {
                type   => 'outcome', seq    => $seq, outcome => 'completed', ran => $ran,
                waited => $waited,   worker => $WORKERS{$worker}, charged => $charged,
                content => $content, payload => substr($body, 34 + length $worker),
            };
        }
    }
    reading($body);
    $tag = r_u32();
    my $message = ($DECODE{$tag} // die "message $tag, which is not for clients\n")->();
    @$message{qw(content payload)} = $HAS_PAYLOAD{$tag} ? ($content, r_rest()) : (PLAIN, '');
    return $message;
}

sub _one_of {
    my ($names, $what) = @_;
    my $tag = r_u32();
    return $names->[$tag] // die "an unknown $what\n";
}

sub _hello {
    for my $byte (split //, MAGIC) {
        die "no Hello\n" if r_u8() != ord $byte;
    }
    my %hello = (type => 'hello', version => [r_u16(), r_u16()], role => _one_of(\@ROLES, 'role'));
    $hello{capacity} = r_u32() if $hello{role} eq 'worker';
    @hello{qw(peer connection)} = (r_u64(), r_u64());
    $hello{session} = r_bool() ? r_u64() : undef;
    $hello{name}    = r_name();
    return \%hello;
}

sub _welcome {
    return {
        type  => 'welcome', version => [r_u16(), r_u16()], epoch => r_u64(), resumed => r_bool(),
        lease => r_u64(),   payload_max => r_u32(),
    };
}

sub _refuse {
    my $reason = _one_of(\@REFUSALS, 'reason');
    return { type => 'refuse', reason => $reason,
        $reason eq 'version' ? (version => [r_u16(), r_u16()]) : () };
}

sub _submit {
    return {
        type         => 'submit', seq => r_u64(), priority => r_u8(), max_attempts => r_u8(),
        at_most_once => r_bool(), may_have_run => r_bool(), deadline => r_u64(),
        max_wait     => r_u64(),  time_limit => r_u64(), name => r_name(),
    };
}

sub _outcome {
    my $seq     = r_u64();
    my $outcome = _one_of(\@OUTCOMES, 'outcome');
    my @fields
        = $outcome eq 'completed' ? (_last(), charged => r_u8())
        : $outcome eq 'failed'    ? (error => r_error(), _last(), history => r_list(\&_record))
        : $outcome eq 'lost'      ? (history => r_list(\&_record))
        : $outcome eq 'rejected'
        ? (reason => _one_of(\@REASONS, 'reason'), retries => r_u32(), similar => r_list(\&r_name))
        :   (may_have_run => r_bool());
    return { type => 'outcome', seq => $seq, outcome => $outcome, @fields };
}

# The attempt that ended the task.
sub _last {
    my %last = (ran => r_u64(), waited => r_u64(), worker => r_name());
    _know($last{worker});
    return %last;
}

# A worker's name that was read is known the next time.
sub _know {
    my ($worker) = @_;
    my $bytes = $worker;
    utf8::encode($bytes);
    %WORKERS = () if keys %WORKERS >= WORKERS_MAX;
    $WORKERS{$bytes} = $worker;
    return;
}

sub _outcome_run {
    my %run = (type => 'outcome_run', seq => r_u64(), waited => r_u64(), charged => r_u8(), worker => r_name());
    my $count = r_u64();
    # Taken at once; the length is found wanting before anything is made of a count that is a lie.
    my @ends = unpack '(v V V)*', r_bytes(10 * ($count > RUN_TASKS ? die "a run of $count\n" : $count));
    $run{ends} = [map { { offset => $ends[3 * $_], ran => $ends[3 * $_ + 1], size => $ends[3 * $_ + 2] } }
        0 .. $count - 1];
    return \%run;
}

# The outcomes for which a run stands, in their order. Dies if it is none.
sub outcomes {
    my ($run) = @_;
    my ($first, $ends, $waited, $worker, $charged, $content)
        = @$run{qw(seq ends waited worker charged content)};
    die 'a run of ' . @$ends . "\n" if @$ends < 2;
    die "a run with results of other sizes\n"
        if sum(map { $_->{size} } @$ends) != length $run->{payload};
    die "a run with numbers that there are not\n" if max(map { $_->{offset} } @$ends) > NO_LIMIT - $first;
    my ($at, @outcomes) = (0);
    for my $end (@$ends) {
        push @outcomes, {
            type    => 'outcome', seq => $first + $end->{offset}, outcome => 'completed', ran => $end->{ran},
            waited  => $waited,   worker => $worker, charged => $charged, content => $content,
            payload => substr($run->{payload}, $at, $end->{size}),
        };
        $at += $end->{size};
    }
    return \@outcomes;
}

sub _reject_run {
    return {
        type        => 'reject_run', seq => r_u64(), count => r_u32(), reason => _one_of(\@REASONS, 'reason'),
        retry_after => r_u64(),      may_have_run => r_bool(),
    };
}

# The rejections for which a run stands, in their order. Dies if it is none.
sub rejects {
    my ($run) = @_;
    my ($first, $count) = @$run{qw(seq count)};
    die "a run of $count\n" if $count < 2 || $count > RUN_TASKS;
    die "a run with numbers that there are not\n" if $count - 1 > NO_LIMIT - $first;
    return [map { { %$run, type => 'reject', seq => $first + $_, similar => [] } } 0 .. $count - 1];
}

sub _last_bytes {
    my ($m) = @_;
    return pack('Q< Q<', @$m{qw(ran waited)}) . w_name($m->{worker});
}

sub _record {
    my $worker = r_name();
    my $end    = _one_of(\@ENDS, 'end of an attempt');
    return { worker => $worker, end => $end, $end eq 'child_crashed' ? %{ r_cause() } : () };
}

sub _record_bytes {
    my ($record) = @_;
    my $tag = $END_TAG{ $record->{end} };
    return w_name($record->{worker}) . pack('V', $tag) . ($tag == 4 ? w_cause($record) : '');
}

sub _reject {
    return {
        type        => 'reject', seq => r_u64(), reason => _one_of(\@REASONS, 'reason'),
        retry_after => r_u64(),  may_have_run => r_bool(), similar => r_list(\&r_name),
    };
}

sub _status {
    return {
        type    => 'status',
        manager => _row(\@MANAGER)->(),
        workers => r_list(_row(\@WORKER)),
        clients => r_list(_row(\@CLIENT)),
        groups   => r_list(sub {
            return { workers => r_u64(), names => r_list(\&r_name), more => r_u64() };
        }),
        more => r_bool(),
    };
}

sub _group_bytes {
    my ($group) = @_;
    return join '', $u64->($group->{workers}), w_list(\&w_name, $group->{names}),
        $u64->($group->{more});
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Wire::Native - the messages between clients and managers

=head1 SYNOPSIS

    use Argon::Wire::Native;

    my $bytes   = Argon::Wire::Native::encode({ type => 'cancel', seq => 7 });
    my $message = Argon::Wire::Native::decode($content, $body);

=head1 DESCRIPTION

What clients and observers say to a manager and hear from it, as F<docs/protocol.md> of Argon
describes it. Those messages that only workers exchange with managers are not here.

A message is a hash with a C<type> (C<hello>, C<welcome>, C<refuse>, C<ping>, C<pong>, C<goodbye>,
C<submit>, C<cancel>, C<resume>, C<ack_outcomes>, C<status_query>, C<outcome>, C<reject>, C<unknown>,
C<status>, C<running_query>, C<running>, C<within>, C<paused>, C<submit_run>, C<outcome_run>,
C<reject_run>), the fields that the protocol gives it, and C<content> and C<payload>. Choices are words (C<queue_full>, C<completed>), durations nanoseconds.

=head1 FUNCTIONS

=over

=item encode(\%message)

The whole frame.

=item submit(\%task, $left)

The frame of a C<submit> whose name is bytes already (C<wire_name>), with C<$left> nanoseconds until its deadline.

=item submit_run(\%task, $left, \@payloads)

The frame of a C<submit_run>: C<%task> is the first, and the payloads are those of all.

=item outcomes(\%run)

A reference to an array of the C<outcome>s for which an C<outcome_run> stands. Dies if its sizes or numbers make no
sense.

=item rejects(\%run)

The same of the C<reject>s for which a C<reject_run> stands.

=item decode($content, $body)

The message in the body of a frame. Dies if it makes no sense.

=back

=cut
