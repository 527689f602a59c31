package Argon::Pool;

# What comes before `use strict` is on purpose: shipped code says itself which pragmas it wants, and
# must see no variables of ours.
sub _evaluate { no strict; no warnings; no feature ':all'; eval $_[0] }

use 5.030;
use strict;
use warnings;

use Argon::Code;
use Argon::JSON;
use Argon::Wire qw(take_frame HEADER_MAX PLAIN JSON);
use Argon::Wire::Pool qw(RUN_TASKS_MAX RUN_BYTES_MAX);
use Carp ();
use Digest::MD5 qw(md5);
use overload ();
use POSIX ();
use Scalar::Util qw(blessed);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

our $VERSION = '0.1.0';

use constant {
    PAYLOAD_MAX  => 67_108_864,
    READ_BYTES   => 262_144,
    BATCH_BYTES  => 65_536,
    # Answers wait for the next task only if tasks like it take no longer, and then not for long.
    QUICK        => 0.001,
    KINDS_MAX    => 1_000,
    CODE_MAX     => 256,
    BACKTRACE    => 16_384,
    # The longest time, in nanoseconds, that can be said of one of many.
    RAN_MAX      => 0xffff_ffff,
};

sub new {
    my ($class, %options) = @_;
    my $self = bless {
        in          => $options{in},
        out         => $options{out},
        capabilities => $options{capabilities} // ['perl:*'],
        allow_eval  => $options{allow_eval} // ($ENV{ARGON_ALLOW_EVAL} // '') eq '1',
        payload_max => $options{payload_max} // $ENV{ARGON_PAYLOAD_MAX} // PAYLOAD_MAX,
        pid         => $$,
        inbox       => '',
        at          => 0,
        # Runs that have been read and not begun.
        runs        => [],
        # The worker has said several in one frame, so it understands that.
        has_runs    => 0,
        # What waits to be written: frames, and after them one that says the last few that completed.
        answers     => '',
        joined      => undef,
        since       => undef,
        slowest     => {},
        factories   => {},
    }, $class;
    return $self;
}

# Keeps the pipes to the worker to ourselves. What tasks print goes to standard error, and what they
# read from standard input is empty.
sub claim_pipes {
    my ($class) = @_;
    open my $in,  '<&', \*STDIN  or die "cannot keep standard input: $!\n";
    open my $out, '>&', \*STDOUT or die "cannot keep standard output: $!\n";
    open STDIN,  '<',  '/dev/null' or die "cannot open /dev/null: $!\n";
    open STDOUT, '>&', \*STDERR or die "cannot send prints to standard error: $!\n";
    binmode $_ for $in, $out;
    STDERR->autoflush(1);
    STDOUT->autoflush(1);
    return (in => $in, out => $out);
}

# Runs what the worker sends until it has nothing more.
sub run {
    my ($self) = @_;
    $self->{answers} = Argon::Wire::Pool::ready($self->{capabilities});
    $self->_flush;
    while (my $run = $self->_next) {
        my $kind = _kind($run);
        $self->_flush if defined $self->{since} && !$self->_may_wait($kind);
        my $start  = _now();
        my $answer = $self->_attempt($run);
        # A child that the task has forked, and that came back here, has no business here.
        POSIX::_exit(0) if $$ != $self->{pid};
        my $took = _now() - $start;
        $self->_learn($kind, $took);
        $self->_answer($run->{id}, int($took * 1e9), $answer);
        $self->{since} //= $start + $took;
    }
    $self->_flush;
    return;
}

sub _now { return clock_gettime(CLOCK_MONOTONIC) }

# The next attempt; before waiting for one, all answers go out.
sub _next {
    my ($self) = @_;
    my $limit = 1 + HEADER_MAX + 4_294_000_000;
    while (1) {
        return shift @{ $self->{runs} } if @{ $self->{runs} };
        my ($content, $body) = take_frame($self->{inbox}, $self->{at}, $limit);
        if (defined $body) {
            my $message = Argon::Wire::Pool::decode($content, $body);
            return $message if $message->{type} eq 'run';
            die "the worker said $message->{type}\n" if $message->{type} ne 'run_many';
            $self->{has_runs} = 1;
            my ($id, $name) = @$message{qw(id name)};
            $self->{runs} = [map { { id => $id++, name => $name, content => $content, payload => $_ } }
                @{ $message->{payloads} }];
            next;
        }
        substr($self->{inbox}, 0, $self->{at}, '');
        $self->{at} = 0;
        $self->_flush;
        my $got = sysread $self->{in}, $self->{inbox}, READ_BYTES, length $self->{inbox};
        next if !defined $got && $!{EINTR};
        die "cannot read from the worker: $!\n" if !defined $got;
        next if $got;
        die "the worker has gone in the middle of a frame\n" if length $self->{inbox};
        return;
    }
}

# Tasks that probably take about as long: those of one name, or of one code.
sub _kind {
    my ($run) = @_;
    return $run->{name} if $run->{name} ne 'perl:eval';
    return $run->{payload} =~ /"code":("(?:[^"\\]++|\\.)*+")/s ? md5($1) : '';
}

# Whether answers that are there may wait for one more task of this kind.
sub _may_wait {
    my ($self, $kind) = @_;
    return ($self->{slowest}{$kind} // 1) < QUICK
        && length($self->{answers}) + ($self->{joined} ? $self->{joined}{bytes} : 0) < BATCH_BYTES
        && _now() - $self->{since} < QUICK;
}

# The longest of late, slowly forgotten.
sub _learn {
    my ($self, $kind, $took) = @_;
    my $slowest = $self->{slowest};
    %$slowest = () if keys %$slowest >= KINDS_MAX;
    my $before = ($slowest->{$kind} // 0) * 0.99;
    $slowest->{$kind} = $took > $before ? $took : $before;
    return;
}

# Puts a frame behind the answers that wait.
sub _say {
    my ($self, $frame) = @_;
    $self->_close;
    $self->{answers} .= $frame;
    return;
}

# The same of a task that completed, in one frame with those before it where that can be.
sub _completed {
    my ($self, $id, $ran, $content, $payload) = @_;
    my $bytes = length $payload;
    return $self->_say(Argon::Wire::Pool::completed($id, $ran, $content, $payload))
        if !$self->{has_runs} || $bytes > RUN_BYTES_MAX || $ran > RAN_MAX;
    my $joined = $self->{joined};
    if (!$joined || $joined->{content} != $content || $joined->{bytes} + $bytes > RUN_BYTES_MAX
        || @{ $joined->{rans} } >= RUN_TASKS_MAX || $joined->{id} + @{ $joined->{rans} } != $id) {
        $self->_close;
        $joined = $self->{joined}
            = { id => $id, content => $content, rans => [], payloads => [], bytes => 0 };
    }
    push @{ $joined->{rans} },     $ran;
    push @{ $joined->{payloads} }, $payload;
    $joined->{bytes} += $bytes;
    return;
}

# Nothing joins the last frame any more.
sub _close {
    my ($self) = @_;
    my $joined = delete $self->{joined} or return;
    my ($id, $content, $rans, $payloads) = @$joined{qw(id content rans payloads)};
    $self->{answers} .= @$rans > 1
        ? Argon::Wire::Pool::completed_many($id, $content, $rans, $payloads)
        : Argon::Wire::Pool::completed($id, $rans->[0], $content, $payloads->[0]);
    return;
}

sub _flush {
    my ($self) = @_;
    $self->_close;
    my $written = 0;
    while ($written < length $self->{answers}) {
        my $got = syswrite $self->{out}, $self->{answers}, length($self->{answers}) - $written,
            $written;
        next if !defined $got && $!{EINTR};
        # The worker has gone, and with it everybody who waits.
        POSIX::_exit(0) if !defined $got && $!{EPIPE};
        die "cannot write to the worker: $!\n" if !defined $got;
        $written += $got;
    }
    $self->{answers} = '';
    $self->{since}   = undef;
    return;
}

sub _answer {
    my ($self, $id, $ran, $answer) = @_;
    my ($error, $content, $payload) = @$answer{qw(error content payload)};
    my $bytes = length $payload;
    my $fits  = $bytes <= $self->{payload_max};
    return $self->_completed($id, $ran, $content, $payload) if $fits && !$error;
    $error //= {
        kind    => 'result_too_large',
        message => "a result of $bytes bytes, where at most $self->{payload_max} are allowed",
    };
    return $self->_say(
        Argon::Wire::Pool::failed($id, $ran, $error, $fits ? ($content, $payload) : (PLAIN, '')));
}

# Runs one attempt: its result, or what went wrong.
sub _attempt {
    my ($self, $run) = @_;
    my ($problem, $task);
    {
        local $@;
        $task = eval { $self->_prepare($run) };
        $problem = $@ if !$task;
    }
    return ref $problem eq 'HASH' ? _refusal($problem) : _raised($problem, '') if !$task;

    my ($trace, $traced, $failed) = ('', '');
    my $result;
    {
        local $@;
        local $_;
        local $SIG{__DIE__} = sub {
            # The first place where this error was, not the last that passed it on.
            return if "$_[0]" eq $traced;
            ($traced, $trace) = ("$_[0]", Carp::longmess(''));
        };
        eval { $result = $task->(); 1 } or $failed = { error => $@ };
    }
    if ($failed) {
        my $error = $failed->{error};
        return _raised($error, _about($error) eq _about($traced) || ref $error ? $trace : '');
    }
    return { content => PLAIN, payload => _bytes($$result) }
        if ref $result eq 'SCALAR' && defined $$result && !ref $$result;
    my $payload = eval { Argon::JSON::encode($result) };
    return { content => JSON, payload => $payload } if defined $payload;
    my $text = 'cannot send the result: it holds ' . $@ =~ s/ at \S+ line \d+\.?\n\z//r;
    return _refusal({ kind => 'raised', type => 'die', message => $text });
}

# An error without the place that perl adds to it.
sub _about { return "$_[0]" =~ s/ at \S+ line \d+\.\n\z//r }

sub _bytes {
    my ($bytes) = @_;
    utf8::downgrade($bytes, 1) or utf8::encode($bytes);
    return $bytes;
}

sub _refusal {
    my ($error) = @_;
    return { error => $error, content => PLAIN, payload => '' };
}

# What a task died with.
sub _raised {
    my ($error, $trace) = @_;
    my $type = blessed $error // 'die';
    my $message
        = !ref $error               ? $error
        : overload::Method($error, '""') ? "$error"
        : blessed $error && $error->can('message') ? $error->message // ''
        : blessed $error            ? "an object of $type"
        :                             eval { Argon::JSON::encode($error) } // "$error";
    my $detail = eval {
        Argon::JSON::encode({
            module => 'perl', type => $type,
            args => [blessed $error || !ref $error ? "$message" : $error],
        });
    };
    $trace =~ s/^[^\n]*\bArgon::Pool::.*//ms;
    return {
        error => {
            kind      => 'raised',
            type      => $type,
            message   => "$message",
            backtrace => substr($trace =~ s/\A[^\n]*\n?//r, 0, BACKTRACE),
        },
        content => defined $detail ? JSON : PLAIN,
        payload => $detail // '',
    };
}

# A sub that runs the task. Dies with a hash if that is not for the task's own code to say.
sub _prepare {
    my ($self, $run) = @_;
    my $name = $run->{name};
    return $self->_prepare_code($run) if $name eq 'perl:eval';
    my ($class) = $name =~ /\Aperl:([A-Za-z_]\w*(?:::\w+)*)\z/
        or die { kind => 'unknown_task', message => "no task \"$name\" here: the Perl runtime has "
            . 'those named perl:My::Class, and perl:eval' };
    my @args = _arguments($run);
    _load($class);
    return sub { scalar $class->new(@args)->run };
}

sub _prepare_code {
    my ($self, $run) = @_;
    die { kind => 'raised', type => 'refused', message => 'this worker runs no code that clients '
            . 'ship; to let it, start it with argon worker --allow-eval' }
        if !$self->{allow_eval};
    my $shipped = _json($run, 'an object with code and args');
    die { kind => 'bad_payload', message => 'perl:eval takes an object with code and args' }
        if ref $shipped ne 'HASH' || !defined $shipped->{code}
        || ref($shipped->{args} // []) ne 'ARRAY' || ref($shipped->{with} // {}) ne 'HASH';
    my $factory = $self->_factory($shipped);
    my $code = $factory->($shipped->{with} // {});
    my @args = @{ $shipped->{args} // [] };
    return sub { scalar $code->(@args) };
}

# Code that was sent once is often sent again. What the factory makes is new each time, so
# nothing of one task is left for the next.
sub _factory {
    my ($self, $shipped) = @_;
    my $source = Argon::Code::factory($shipped);
    my $cache  = $self->{factories};
    return $cache->{$source} if $cache->{$source};
    my $factory = _evaluate($source);
    die "the code that was sent does not compile here: $@" if ref $factory ne 'CODE';
    %$cache = () if keys %$cache >= CODE_MAX;
    return $cache->{$source} = $factory;
}

sub _json {
    my ($run, $wanted) = @_;
    die { kind => 'bad_payload', message => "the argument is content $run->{content}, but the Perl "
            . "runtime takes JSON (1), here $wanted" }
        if $run->{content} != JSON;
    my $value = eval { [Argon::JSON::decode($run->{payload})] };
    die { kind => 'bad_payload', message => 'the argument is not JSON: '
            . $@ =~ s/ at \S+ line \d+\.?\n\z//r } if !$value;
    return $value->[0];
}

# The arguments of a task: an array of them, or that with named ones, which become pairs.
sub _arguments {
    my ($run) = @_;
    return length $run->{payload} ? $run->{payload} : () if $run->{content} == PLAIN;
    my $value = _json($run, 'an array of arguments');
    return @$value if ref $value eq 'ARRAY';
    my ($args, $kwargs) = ref $value eq 'HASH' ? @$value{qw(args kwargs)} : ();
    return (@{ $args // [] }, %{ $kwargs // {} })
        if ref $value eq 'HASH' && !grep({ !/\A(?:kw)?args\z/ } keys %$value)
        && ref($args // []) eq 'ARRAY' && ref($kwargs // {}) eq 'HASH';
    die { kind => 'bad_payload', message => 'the argument is neither an array nor an object with '
            . 'args and kwargs' };
}

# Files that did not compile. Some of their subs are there all the same.
my %broken;

sub _load {
    my ($class) = @_;
    my $file = ($class =~ s{::}{/}gr) . '.pm';
    return if $class->can('new') && !$broken{$file};
    if (!eval { require $file; 1 }) {
        my $problem = $@;
        # So that the next attempt gets the whole message too.
        delete $INC{$file};
        die { kind => 'unknown_task', message => "no class $class on this worker's include path: "
                . join(' ', grep { !ref } @INC) }
            if $problem =~ /\ACan't locate \Q$file\E in \@INC/;
        $broken{$file} = 1;
        die $problem;
    }
    delete $broken{$file};
    die { kind => 'unknown_task', message => "$file is here, but no $class with a method new" }
        if !$class->can('new');
    return;
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Pool - runs Perl tasks for an Argon worker

=head1 SYNOPSIS

    argon worker --manager mgrhost:8000 -- argon-pool -I lib -M My::Tasks

Or in a program of your own:

    use Argon::Pool;
    use My::Tasks;

    Argon::Pool->new(Argon::Pool->claim_pipes)->run;

=head1 DESCRIPTION

Speaks the pool protocol with an C<argon worker>. One process runs many tasks, one after the other, so
modules are loaded once and package variables live on from task to task. See L<argon-pool> for the
program.

=head2 Tasks

=over

=item C<perl:My::Class>

Loads C<My::Class> from the include path and runs C<< My::Class->new(@args)->run >>. The arguments are those of a
JSON array; named ones (C<kwargs>) follow as pairs. Plain bytes are one argument.

=item C<perl:eval>

Runs code that a client has shipped, only where the worker was started with C<--allow-eval>.

=back

C<run>, and shipped code, is called in scalar context. What it returns is sent as JSON, so it can be
C<undef>, a number, a string, or arrays and hashes of those. A reference to a string (C<return \$bytes>)
is sent as bytes, without JSON.

=head2 Errors

C<die> in a task fails that task and nothing else. The message arrives as it was, also if it has no newline at its
end; the class of an object is the type, and its string or its C<message> the message. A C<__DIE__> handler of ours notes
the backtrace; code that has its own has no backtrace.

Answers of tasks that take less than a millisecond are written together. If one of a kind that was always
fast takes long, the answers of up to a millisecond before it wait for it.

A task that calls C<exit>, or whose process is killed, counts as crashed. It runs again as often as it is
allowed to, then fails.

=head2 Standard input and output

Belong to the protocol. Tasks that print do so to standard error, which the worker adds to the error of a task
that fails; tasks that read from standard input find it empty. A child that a task forks and that returns
from the task ends there.

=head1 METHODS

=over

=item new(in => $handle, out => $handle, ...)

A pool process on two pipes. Options: C<capabilities> (names of the tasks that can run here; by default
C<['perl:*']>), C<allow_eval> (by default if C<ARGON_ALLOW_EVAL> is 1), C<payload_max> (by default
C<ARGON_PAYLOAD_MAX>, or 64 MiB).

=item claim_pipes

Takes standard input and output for the protocol, and returns them as C<< in => ..., out => ... >>.

=item run

Runs tasks until the worker has no more.

=back

=cut
