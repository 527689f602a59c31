package Argon::Session;

use 5.030;
use strict;
use warnings;

use Argon::Error;
use Argon::Link;
use Argon::Retry;
use Argon::Window;
use Argon::Wire qw(w_name NO_LIMIT NANOS PLAIN);
use Argon::Wire::Native;
use List::Util qw(max);

our $VERSION = '0.1.0';

use constant {
    IDS_MAX    => Argon::Wire::Native::IDS_MAX,
    LAST_WORDS => 0.02,    # before leaving a manager, for answers that are on their way
    MOVE_EVERY => 1,       # once every manager was tried
    LEVELS     => 8,
    NEVER      => 9**9**9,
    RESUME     => 30,      # how long a manager waits for a worker to claim what may run only once
    RUN_TASKS  => Argon::Wire::Native::RUN_TASKS,
    RUN_BYTES  => 30 * 1_024,    # most of arguments there: managers copy them, and none that come alone
    RESTART    => 1,       # what a manager that is restarted at once counts as
};

# What is the same for the tasks of a run.
my @LIKE = qw(content priority max_attempts at_most_once may_have_run max_wait time_limit wire_name);
my %FINAL = map { $_ => 1 } qw(too_large no_runner);

sub new {
    my ($class, %options) = @_;
    my $self = bless {
        window      => Argon::Window->new($options{in_flight}),
        within      => scalar _own_process(),
        retries     => $options{retries},
        live        => {},
        bytes       => 0,
        next        => 0,
        floor       => 0,
        waiting     => [map { [] } 1 .. LEVELS],
        recovering  => [],
        backoff     => {},
        retry_at    => undef,
        deadlines   => {},
        expire_at   => NEVER,
        sent        => [(0) x LEVELS],
        sent_total  => 0,
        acks        => [],
        ack_due     => 0,
        abandoned   => {},
        moves       => 0,
        moved_at    => 0,
        move_at     => undef,
        limiting    => 0,
        payload_max => undef,
        refused     => undef,
        ever_up     => 0,
        began       => 0,    # with this life of the manager, and when it was last cut off
        cut_at      => 0,
        asked       => 0,    # tasks sent with higher numbers were not asked about
    }, $class;
    $self->{link} = Argon::Link->new(
        addresses => $options{addresses}, name => $options{name}, keys => $options{keys},
        owner => $self);
    return $self;
}

sub link        { return $_[0]{link} }
sub held        { return scalar keys %{ $_[0]{live} } }
sub held_bytes  { return $_[0]{bytes} }
sub payload_max { return $_[0]{payload_max} }
sub ever_up     { return $_[0]{ever_up} }
sub refused     { return $_[0]{refused} }

# Takes a task in: a hash with name, content, payload, priority and the limits. Its `outcome`
# appears in it when it has ended.
sub submit {
    my ($self, $now, $task) = @_;
    my $seq = $self->{next}++;
    $task->{wire_name} = w_name($task->{name});
    @$task{qw(seq state may_have_run rejections tries unclaimed)} = ($seq, 'waiting', 0, 0, 0, 0);
    $task->{bytes} = length($task->{payload}) + length $task->{name};
    if (defined $task->{deadline}) {
        $task->{expires} = $now + $task->{deadline};
        $self->{deadlines}{$seq} = $task->{expires};
        $self->{expire_at} = $task->{expires} if $task->{expires} < $self->{expire_at};
    }
    $self->{live}{$seq} = $task;
    $self->{bytes} += $task->{bytes};
    my $waiting = $self->{waiting}[ $task->{priority} ];
    # Those that were cancelled while they waited are still in there.
    @$waiting = grep { $_->{state} eq 'waiting' } @$waiting
        if @$waiting > 1_000 + 2 * keys %{ $self->{live} };
    push @$waiting, $task;
    return $seq;
}

# The one place where a task ends. In this order, whatever interrupts it can be made good.
sub _end {
    my ($self, $task, $outcome) = @_;
    my $seq = $task->{seq};
    $self->_leave($task);
    $task->{state}   = 'ended';
    $task->{outcome} = $outcome;
    $self->{bytes} -= $task->{bytes} if delete $self->{live}{$seq};
    delete $self->{deadlines}{$seq};
    delete @$task{qw(payload wire_name)};
    return;
}

sub _leave {
    my ($self, $task) = @_;
    if ($task->{state} eq 'sent') {
        $self->{sent}[ $task->{priority} ]--;
        $self->{sent_total}--;
    } elsif ($task->{state} eq 'backoff') {
        delete $self->{backoff}{ $task->{seq} };
    }
    return;
}

sub _wait {
    my ($self, $task) = @_;
    $self->_leave($task);
    $task->{state} = 'waiting';
    $self->{expire_at} = 0 if defined $task->{expires};
    push @{ $task->{may_have_run} ? $self->{recovering} : $self->{waiting}[ $task->{priority} ] },
        $task;
    return;
}

# The application no longer wants a task. The outcome still comes.
sub cancel {
    my ($self, $task) = @_;
    return if $task->{state} eq 'ended' || $task->{cancelled};
    $task->{cancelled} = 1;
    if ($task->{state} eq 'sent') {
        $self->{link}->send(
            Argon::Wire::Native::encode({ type => 'cancel', seq => $task->{seq} }));
    } elsif (!$task->{may_have_run}) {
        $self->_end($task, { outcome => 'cancelled', may_have_run => 0 });
    }
    return;
}

# Ends all tasks with what is known of why no manager can be reached.
sub abandon {
    my ($self, $message) = @_;
    for my $task (map { $self->{live}{$_} } sort { $a <=> $b } keys %{ $self->{live} }) {
        $self->_end($task, {
            outcome => $task->{may_have_run} || $task->{state} eq 'sent' ? 'lost' : 'not_connected',
            message => $message, history => [],
        });
    }
    @$_ = () for $self->{recovering}, @{ $self->{waiting} };
    $self->{refused} = undef;
    return;
}

# Does all that is due and sends what may be sent; tells when it is to be called again.
sub step {
    my ($self, $now) = @_;
    $self->_move_on($now) if defined $self->{move_at} && $self->{move_at} <= $now;
    $self->_retry($now)   if defined $self->{retry_at} && $self->{retry_at} <= $now;
    $self->_expire($now)  if $self->{expire_at} <= $now;
    my $due = $self->{link}->step($now);
    if ($self->{link}->is_up) {
        $self->_acknowledge;
        $self->_send_tasks($now);
    }
    for my $at (@$self{qw(move_at retry_at expire_at)}) {
        $due = $at if defined $at && $at > $now && $at < $due;
    }
    my $pause = $self->{window}->paused_until;
    $due = $pause if $pause > $now && $pause < $due;
    return $due;
}

sub _retry {
    my ($self, $now) = @_;
    my ($backoff, $next) = $self->{backoff};
    for my $seq (sort { $a <=> $b } keys %$backoff) {
        my $task = $backoff->{$seq};
        if ($task->{until} <= $now) {
            $self->_wait($task);
        } elsif (!defined $next || $task->{until} < $next) {
            $next = $task->{until};
        }
    }
    $self->{retry_at} = $next;
    return;
}

# Deadlines of tasks that are here. Those at the manager are its own business, until it has
# not been heard for a lease beyond them.
sub _expire {
    my ($self, $now) = @_;
    my $up = $self->{link}->is_up;
    my $next = NEVER;
    for my $seq (sort { $a <=> $b } keys %{ $self->{deadlines} }) {
        my $task = $self->{live}{$seq};
        my $at = $task->{expires};
        if ($task->{state} eq 'sent') {
            next if $up;
            $at += $self->{link}->lease;
        }
        if ($at > $now) {
            $next = $at if $at < $next;
            next;
        }
        $self->{abandoned}{$seq} = 1
            if $task->{state} eq 'sent' && keys %{ $self->{abandoned} } < IDS_MAX;
        my $may = $task->{may_have_run} || $task->{state} eq 'sent';
        $self->_end($task, { outcome => 'expired', may_have_run => $may ? 1 : 0 });
    }
    $self->{expire_at} = $next;
    return;
}

sub _floor {
    my ($self) = @_;
    $self->{floor}++ while $self->{floor} < $self->{next} && !$self->{live}{ $self->{floor} };
    return $self->{floor};
}

sub _acknowledge {
    my ($self) = @_;
    my $acks = $self->{acks};
    return if !@$acks && !$self->{ack_due};
    $self->{ack_due} = 0;
    my $floor = $self->_floor;
    # Tasks mostly end in about the order in which they came, and the floor says it all.
    my @seqs = grep { $_ >= $floor } @$acks;
    @$acks = ();
    do {
        $self->{link}->send(Argon::Wire::Native::encode({
            type => 'ack_outcomes', floor => $floor, seqs => [splice @seqs, 0, IDS_MAX] }));
    } while @seqs;
    return;
}

sub _send_tasks {
    my ($self, $now) = @_;
    return if defined $self->{move_at};
    $self->_submit_tasks($now);
    $self->_flush_run;
    return;
}

sub _submit_tasks {
    my ($self, $now) = @_;
    my ($link, $window) = @$self{qw(link window)};
    # First what may be running somewhere, so that it is claimed before it is tried again. The
    # manager has had these before, so the window has no say.
    my $recovering = $self->{recovering};
    while (@$recovering && $link->has_room) {
        $self->_send_task($now, shift @$recovering);
    }
    my $limiting = @$recovering ? 1 : 0;
    my $lesser = $self->{sent_total};
    LEVEL: for my $level (0 .. LEVELS - 1) {
        my $waiting = $self->{waiting}[$level];
        $lesser -= $self->{sent}[$level];
        while (@$waiting) {
            if ($window->paused_until > $now || !$link->has_room
                || !$window->admits($self->{sent_total}, $lesser)) {
                $limiting = 1;
                last LEVEL;
            }
            $self->_send_task($now, shift @$waiting);
        }
    }
    $self->{limiting} = $limiting;
    return;
}

sub _send_task {
    my ($self, $now, $task) = @_;
    return if $task->{state} ne 'waiting';    # It has ended here.
    if (length $task->{payload} > $self->{payload_max}) {
        return $self->_refuse_for_good($task, 'too_large', []);
    }
    my $left = NO_LIMIT;
    if (defined $task->{expires}) {
        $left = int(($task->{expires} - $now) * NANOS);
        $left = 0 if $left < 0;
    }
    $task->{number} = $self->{window}->on_sent;
    $task->{state} = 'sent';
    $self->{sent}[ $task->{priority} ]++;
    $self->{sent_total}++;
    $self->_submit($task, $left);
    if ($task->{cancelled}) {
        $self->_flush_run;
        $self->{link}->send(
            Argon::Wire::Native::encode({ type => 'cancel', seq => $task->{seq} }));
    }
    return;
}

# Those in a row that are alike go as one message. Nothing waits for others: whoever submits says
# _flush_run before it sends something else, and at the end.
sub _submit {
    my ($self, $task, $left) = @_;
    my $size = length $task->{payload};
    if (my $run = $self->{run}) {
        my ($first, $payloads) = @$run{qw(first payloads)};
        if ($first->{seq} + @$payloads == $task->{seq} && $run->{left} == $left
            && $self->{link}->has_runs && @$payloads < RUN_TASKS && $run->{bytes} + $size <= RUN_BYTES
            && !grep { $first->{$_} ne $task->{$_} } @LIKE) {
            push @$payloads, $task->{payload};
            $run->{bytes} += $size;
            return;
        }
        $self->_flush_run;
    }
    $self->{run} = { first => $task, left => $left, payloads => [$task->{payload}], bytes => $size };
    # What is long goes alone, and counts at once where there is room for so much.
    $self->_flush_run if $size > RUN_BYTES;
    return;
}

sub _flush_run {
    my ($self) = @_;
    my $run = delete $self->{run} or return;
    my ($first, $left, $payloads) = @$run{qw(first left payloads)};
    $self->{link}->send(
        @$payloads > 1
        ? Argon::Wire::Native::submit_run($first, $left, $payloads)
        : Argon::Wire::Native::submit($first, $left));
    return;
}

# Puts a question to the manager, now or when it is there. `undef` gives it up.
sub ask {
    my ($self, $status) = @_;
    $self->{asking} = $status;
    $self->{link}->send($status->first) if $status && $self->{link}->is_up;
    return;
}

# What the link says.

# The process of a worker's pool that this one is, or was started by.
sub _own_process {
    my ($worker, $slot, $life) = ($ENV{ARGON_PROCESS} // '') =~ /\A([0-9a-f]{16})\.([0-9]{1,9})\.([0-9]{1,19})\z/
        or return;
    return { worker => unpack('Q>', pack 'H16', $worker), slot => $slot, life => $life };
}

sub on_up {
    my ($self, $now, $welcome) = @_;
    $self->{payload_max} = $welcome->{payload_max};
    @$self{qw(ever_up refused)} = (1, undef);
    my $link = $self->{link};
    $link->send(Argon::Wire::Native::encode({ type => 'within', %{ $self->{within} } }))
        if $self->{within} && !$welcome->{resumed};
    $link->send(Argon::Wire::Native::encode({ type => 'cancel', seq => $_ }))
        for sort { $a <=> $b } keys %{ $self->{abandoned} };
    %{ $self->{abandoned} } = ();
    $self->{ack_due} = 1;
    $self->_acknowledge;
    $link->send($self->{asking}->first) if $self->{asking};
    my @sent = map { $self->{live}{$_} }
        sort { $a <=> $b } grep { $self->{live}{$_}{state} eq 'sent' } keys %{ $self->{live} };
    if ($welcome->{resumed}) {
        $self->{asked} = $self->{window}->last_sent;
        my @seqs = map { $_->{seq} } @sent;
        while (my @part = splice @seqs, 0, IDS_MAX) {
            $link->send(Argon::Wire::Native::encode({ type => 'resume', seqs => \@part }));
        }
        for my $task (grep { $_->{cancelled} } @sent) {
            $link->send(Argon::Wire::Native::encode({ type => 'cancel', seq => $task->{seq} }));
        }
        return;
    }
    # Nobody can say any more whether what was left at the manager has started.
    my $held = $self->{cut_at} - $self->{began};
    @$self{qw(began asked)} = ($now, 0);
    for my $task (@sent) {
        if (_is_given_up($task, $held)) {
            $self->_end($task, { outcome => 'lost', history => [] });
            next;
        }
        $task->{may_have_run} = 1;
        $self->_wait($task);
    }
    $self->{window}->restart;
    if ($self->{moves} < @{ $link->{addresses} }) {
        # What the last manager advised is not this one's advice.
        $self->_wait($_)
            for map { $self->{backoff}{$_} } sort { $a <=> $b } keys %{ $self->{backoff} };
        $self->{retry_at} = undef;
    }
    return;
}

# Whether managers, each restarted before it could tell, have together waited for a worker to claim a
# task as long as one alone would. One that had it for so long and did not end it has had it claimed.
sub _is_given_up {
    my ($task, $held) = @_;
    return 0 if !$task->{at_most_once} || !$task->{may_have_run};
    $task->{unclaimed} = $held < RESUME ? $task->{unclaimed} + max($held, RESTART) : 0;
    return $task->{unclaimed} >= RESUME;
}

sub on_down {
    my ($self) = @_;
    $self->{cut_at} = Argon::Link::now();
    # If something has interrupted it: those in it count as sent, and the next manager is asked.
    delete $self->{run};
    # Outcomes come again after resuming, and so do their acknowledgements.
    @{ $self->{acks} } = ();
    $self->{move_at} = undef;
    $self->{expire_at} = 0 if %{ $self->{deadlines} };
    # Counted anew, in case something has interrupted a count.
    $self->{sent} = [(0) x LEVELS];
    my @sent = grep { $_->{state} eq 'sent' } values %{ $self->{live} };
    $self->{sent}[ $_->{priority} ]++ for @sent;
    $self->{sent_total} = @sent;
    return;
}

sub on_refused {
    my ($self, $reason) = @_;
    $self->{refused} = $reason if $reason =~ /^(?:version|bad_hello)$/;
    return;
}

sub on_confirmed {
    my ($self, $now) = @_;
    my $link = $self->{link};
    $self->{window}->on_confirmed($now, @$link{qw(confirmed sent)}, $self->{limiting});
    return;
}

sub on_message {
    my ($self, $now, $message) = @_;
    my $type = $message->{type};
    return $self->_outcome($message) if $type eq 'outcome';
    if ($type eq 'outcome_run') {
        $self->_outcome($_) for @{ Argon::Wire::Native::outcomes($message) };
        return;
    }
    return $self->_rejected($now, $message) if $type eq 'reject';
    if ($type eq 'reject_run') {
        $self->_rejected($now, $_) for @{ Argon::Wire::Native::rejects($message) };
        return;
    }
    if ($type eq 'unknown') {
        $self->_unknown($_) for @{ $message->{seqs} };
        return;
    }
    die "it said $type, which is not for clients\n" if $type !~ /^(?:status|running)$/;
    my $asking = $self->{asking} // return;
    my $question = $asking->take($message);
    return $self->{link}->send($question) if defined $question;
    $self->{asking} = undef;
    return;
}

# The end of a task. What is known no more is acknowledged too, or the manager would keep it.
sub _outcome {
    my ($self, $message) = @_;
    my $task = $self->{live}{ $message->{seq} };
    if ($task) {
        die "it ended a task that it was not sent\n"
            if $task->{state} ne 'sent' && !$task->{may_have_run} && !$task->{rejections};
        die "it rejected a task as its outcome\n" if $message->{outcome} eq 'rejected';
        $message->{may_have_run} ||= $task->{may_have_run} if exists $message->{may_have_run};
        if ($task->{state} eq 'sent') {
            $self->{window}->on_outcome;
            # The manager ends tasks, so it has workers.
            @$self{qw(moves move_at)} = (0, undef);
        }
        $self->_end($task, $message);
    }
    my $acks = $self->{acks};
    push @$acks, $message->{seq};
    $self->_acknowledge if @$acks >= IDS_MAX;
    return;
}

sub _rejected {
    my ($self, $now, $message) = @_;
    my $task = $self->{live}{ $message->{seq} };
    return if !$task || $task->{state} ne 'sent';
    my $reason = $message->{reason};
    $task->{may_have_run} ||= $message->{may_have_run};
    my $hint = $message->{retry_after} / NANOS;
    my $delay = Argon::Retry::delay($task->{rejections}++, $hint);
    $self->_leave($task);
    $task->{state} = 'rejected';
    if ($task->{cancelled}) {
        return $self->_end($task,
            { outcome => 'cancelled', may_have_run => $task->{may_have_run} });
    }
    return $self->_refuse_for_good($task, $reason, $message->{similar}) if $FINAL{$reason};
    $self->{window}->on_refused($now, $task->{number}, $self->{sent_total}, $delay);
    $self->_want_move($now) if $reason eq 'no_workers';
    # What may have run cannot end as rejected, so it is tried until the manager has room.
    if (!$task->{may_have_run}) {
        my $allowed = $task->{max_tries} // $self->{retries};
        return $self->_refuse_for_good($task, $reason, []) if $task->{tries} >= $allowed;
        $task->{tries}++;
    }
    $task->{state} = 'backoff';
    $self->{expire_at} = 0 if defined $task->{expires};
    $task->{until} = $now + $delay;
    $self->{backoff}{ $task->{seq} } = $task;
    $self->{retry_at} = $task->{until}
        if !defined $self->{retry_at} || $task->{until} < $self->{retry_at};
    return;
}

sub _refuse_for_good {
    my ($self, $task, $reason, $similar) = @_;
    # Rejected would promise that it never ran.
    my $outcome
        = $task->{may_have_run}
        ? { outcome => 'lost', history => [] }
        : { outcome => 'rejected', reason => $reason, similar => $similar, retries => $task->{tries} };
    return $self->_end($task, $outcome);
}

# What the manager never had, it never started.
sub _unknown {
    my ($self, $seq) = @_;
    my $task = $self->{live}{$seq};
    return if !$task || $task->{state} ne 'sent';
    # To send again whatever it calls unknown would go round for ever.
    die "it does not know a task that it was just sent\n" if $task->{number} > $self->{asked};
    if ($task->{cancelled}) {
        return $self->_end($task,
            { outcome => 'cancelled', may_have_run => $task->{may_have_run} });
    }
    return $self->_wait($task);
}

# The manager has no workers: another may have.
sub _want_move {
    my ($self, $now) = @_;
    my $addresses = @{ $self->{link}{addresses} };
    return if $addresses < 2 || defined $self->{move_at};
    my $soon  = $now + LAST_WORDS;
    my $later = $self->{moved_at} + MOVE_EVERY;
    $self->{move_at} = $self->{moves} + 1 >= $addresses && $later > $soon ? $later : $soon;
    return;
}

sub _move_on {
    my ($self, $now) = @_;
    $self->{move_at} = undef;
    my $link = $self->{link};
    return if !$link->is_up;
    $self->{moves}++;
    $self->{moved_at} = $now;
    $self->_acknowledge;
    # So that what it still queues does not run there as well, should workers come.
    $link->send(Argon::Wire::Native::encode({ type => 'goodbye' }));
    $link->move_on($now);
    return;
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Session - the tasks of a client, from submission to outcome

=head1 DESCRIPTION

When tasks are sent, when again after a rejection, what a new connection means for them, and that each
ends once. It is told the time and keeps neither thread nor timer. L<Argon::Client> is what programs use.

A task is a hash; its C<state> is one of

=over

=item waiting

To be sent: in C<recovering> if it may have run, else in C<waiting> by priority.

=item sent

At the manager, or on its way.

=item backoff

Rejected; it waits for C<until>.

=item ended

Its C<outcome> is there.

=back

=head1 METHODS

=over

=item new(addresses => ..., name => ..., in_flight => $n, retries => $n)

A session, and its L<Argon::Link>.

=item submit($now, \%task), cancel(\%task), abandon($message)

Takes a task in; asks for its end; ends all because no manager can be reached.

=item step($now)

Does what is due; tells when it is to be called again.

=item ask($status)

Puts the questions of an L<Argon::Status>.

=item held, held_bytes, payload_max, ever_up, refused, link

What is known.

=item on_up, on_down, on_message, on_confirmed, on_refused

What the link says.

=back

=cut
