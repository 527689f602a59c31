# The runtime: what it answers to what a worker can send.
use 5.030;
use strict;
use warnings;

use Argon::JSON;
use Argon::Wire qw(take_frame);
use Argon::Wire::Pool;
use FindBin;
use IPC::Open3 qw(open3);
use Symbol qw(gensym);
use Test::More;

$SIG{ALRM} = sub { die "it takes too long\n" };
alarm 300;    # Ends a test that hangs, and nothing else: not one on a busy machine.

package Local::Child {
    use Test::More;

    sub new {
        my ($class, $env, @args) = @_;
        local %ENV = (%ENV, ARGON_PAYLOAD_MAX => 1_000_000, %$env);
        delete $ENV{ARGON_ALLOW_EVAL} if !$env->{ARGON_ALLOW_EVAL};
        my $err = Symbol::gensym();
        my $pid = IPC::Open3::open3(my $in, my $out, $err, $^X, "$FindBin::Bin/../bin/argon-pool",
            '-I', "$FindBin::Bin/lib", @args);
        binmode $_ for $in, $out;
        return bless { pid => $pid, in => $in, out => $out, err => $err, inbox => '', id => 0 }, $class;
    }

    sub next {
        my ($self) = @_;
        return shift @{ $self->{rest} } if @{ $self->{rest} // [] };
        while (1) {
            my $at = 0;
            my ($content, $body) = Argon::Wire::take_frame($self->{inbox}, $at, 1 << 24);
            if (defined $body) {
                substr $self->{inbox}, 0, $at, '';
                my $message = Argon::Wire::Pool::decode($content, $body);
                push @{ $self->{types} }, $message->{type};
                return $message if $message->{type} ne 'completed_many';
                my ($id, $rans, $payloads) = @$message{qw(id rans payloads)};
                $self->{rest} = [map { {
                    type    => 'completed', id => $id++, ran => $rans->[$_], content => $content,
                    payload => $payloads->[$_],
                } } 0 .. $#$rans];
                return shift @{ $self->{rest} };
            }
            $self->{reads}++;
            sysread $self->{out}, $self->{inbox}, 1 << 20, length $self->{inbox} or return;
        }
    }

    sub send {
        my ($self, $name, $content, $payload) = @_;
        $self->raw(Argon::Wire::Pool::run(++$self->{id}, $name, $content, $payload));
        return $self->{id};
    }

    sub raw { syswrite $_[0]{in}, $_[1] }

    # The answer to a task, which has its id.
    sub ask {
        my ($self, $name, $content, $payload) = @_;
        my $id = $self->send($name, $content, $payload);
        my $answer = $self->next;
        main::is($answer->{id}, $id, "$name is answered");
        return $answer;
    }

    sub try {
        my ($self, @args) = @_;
        return $self->ask('perl:My::Task::Trial', 1, Argon::JSON::encode(\@args));
    }

    sub end {
        my ($self) = @_;
        close $self->{in};
        my $rest = do { local $/; readline $self->{err} };
        waitpid $self->{pid}, 0;
        return $rest;
    }
}

sub result { return Argon::JSON::decode($_[0]{payload}) }

my $child = Local::Child->new({});
my $ready = $child->next;
is_deeply([@$ready{qw(type version capabilities)}], ['ready', [1, 1], ['perl:*']], 'it is ready');

subtest 'arguments and results' => sub {
    my $answer = $child->try('args', 4, 'x', undef, { a => [1] });
    is_deeply([@$answer{qw(type content)}], ['completed', 1], 'a result');
    is_deeply(result($answer), [4, 'x', undef, { a => [1] }], 'arguments');
    cmp_ok($answer->{ran}, '>', 0, 'it says how long it ran');
    is(result($child->try('echo', "caf\x{e9}\x{263a}")), "caf\x{e9}\x{263a}", 'characters');
    $answer = $child->try('bytes');
    is_deeply([@$answer{qw(content payload)}], [0, "\x00\xff"], 'bytes as bytes');
    my $named = '{"args":["args",1],"kwargs":{"b":2}}';
    is_deeply(result($child->ask('perl:My::Task::Trial', 1, $named)), [1, 'b', 2], 'named arguments');
    is_deeply(result($child->ask('perl:My::Task::Trial', 0, 'pid')), $child->{pid}, 'bytes are one');
    is(result($child->try('context')), 'scalar', 'scalar context');
    is_deeply([map { result($child->try('count')) } 1 .. 3], [1, 2, 3], 'one process runs many');
    is(result($child->try('echo', undef)), undef, 'nothing is null');
};

subtest 'errors' => sub {
    my $fail = sub {
        my $answer = $child->try(@_);
        is($answer->{type}, 'failed', "$_[0] fails");
        return ($answer->{error}, $answer);
    };
    my ($error) = $fail->('string');
    is_deeply([@$error{qw(kind type message)}], ['raised', 'die', "boom\n"], 'as it was');
    like($error->{backtrace}, qr/My::Task::Trial::run/, 'with a backtrace');
    unlike($error->{backtrace}, qr/Argon::Pool::/, 'of its own code');
    ($error) = $fail->('place');
    like($error->{message}, qr/\Aboom at \S+Trial\.pm line \d+\.\n\z/, 'with its place');
    ($error) = $fail->('object');
    is_deeply([@$error{qw(type message)}], ['My::Task::Trial::Error', 'an error with 5'], 'an object');
    ($error) = $fail->('plain');
    is_deeply([@$error{qw(type message)}], ['My::Task::Trial::Plain', 'what it says'], 'another');
    ($error, my $answer) = $fail->('data');
    is($error->{message}, '{"code":5}', 'data');
    is_deeply(result($answer)->{args}, [{ code => 5 }], 'which is in the detail');
    ($error) = $fail->('rethrown');
    like($error->{backtrace}, qr/My::Task::Trial::deeper/, 'the first place of an error counts');
    is(result($child->try('handled')), 'survived', 'what a task handles is no error');
    ($error) = $fail->('code');
    like($error->{message}, qr/cannot send the result: it holds a code reference/, 'no result');
    ($error) = $fail->('large', 2_000_000);
    is_deeply([@$error{qw(kind message)}], ['result_too_large',
        'a result of 2000002 bytes, where at most 1000000 are allowed'], 'too large');
};

subtest 'what cannot be run' => sub {
    my $error = sub { $child->ask(@_)->{error} };
    my $e = $error->('perl:No::Such', 1, '[]');
    is($e->{kind}, 'unknown_task', 'no class');
    like($e->{message}, qr/no class No::Such on this worker's include path: \S/, 'says where');
    for (1 .. 2) {
        $e = $error->('perl:My::Task::Broken', 1, '[]');
        is($e->{kind}, 'raised', 'a class that does not compile');
        like($e->{message}, qr/Global symbol "\$undeclared"/, 'says why, each time');
    }
    for my $name ('noop', 'perl:', 'perl:a b', 'perl:../x', 'perl:My::Task::Trial;die') {
        is($error->($name, 1, '[]')->{kind}, 'unknown_task', "no task $name");
    }
    is($error->('perl:Argon::Wire', 1, '[]')->{kind}, 'unknown_task', 'a module without new');
    for my $bad ([1, '{'], [1, '5'], [1, '{"x":1}'], [1, '{"args":1}'], [2, ''], [3, 'x'], [9, '']) {
        $e = $error->('perl:My::Task::Trial', @$bad);
        is($e->{kind}, 'bad_payload', "content $bad->[0]: $bad->[1]");
    }
    like($e->{message}, qr/content 9, but the Perl runtime takes JSON/, 'says what came');
    $e = $error->('perl:eval', 1, '{"code":"sub { 1 }","args":[]}');
    is_deeply([@$e{qw(kind type)}], ['raised', 'refused'], 'shipped code is refused');
    like($e->{message}, qr/start it with argon worker --allow-eval/, 'and why');
};

subtest 'standard input and output' => sub {
    is(result($child->try('print')), 1, 'prints do no harm');
    is(result($child->try('read')), undef, 'nothing to read');
    is(result($child->try('fork')), 'parent', 'a child that comes back is no second runtime');
    is(result($child->try('echo', 5)), 5, 'all is well');
};

subtest 'runs' => sub {
    ok(!grep({ $_ eq 'completed_many' } @{ $child->{types} }), 'none where the worker says none');
    # Another process, in which no task of this kind has taken long.
    my $child = Local::Child->new({});
    $child->next;
    my $many = sub { Argon::Wire::Pool::run_many(shift, 'perl:My::Task::Trial', 1, [@_]) };
    $child->raw($many->(2_000, map { qq(["echo",$_]) } 0 .. 499));
    my @answers = map { $child->next } 1 .. 500;
    is_deeply([map { $_->{id} } @answers], [2_000 .. 2_499], 'in order');
    is_deeply([map { result($_) } @answers], [0 .. 499], 'each its own');
    ok(grep({ $_ eq 'completed_many' } @{ $child->{types} }), 'several in one frame');
    ok(!grep({ $_->{ran} <= 0 } @answers), 'each says how long it ran');
    # What failed is said alone, and bytes are not JSON.
    $child->raw($many->(3_000, '["echo",1]', '["echo",2]', '["string"]', '["bytes"]', '["echo",3]', '{'));
    @answers = map { $child->next } 1 .. 6;
    is_deeply([map { $_->{id} } @answers], [3_000 .. 3_005], 'in order');
    is_deeply([map { $_->{type} } @answers],
        [qw(completed completed failed completed completed failed)], 'how each ended');
    is_deeply([map { $_->{content} } @answers[0, 1, 3, 4]], [1, 1, 0, 1], 'contents');
    # Results that are too many for one frame.
    $child->raw($many->(4_000, map { '["echo","' . 'y' x 9_000 . '"]' } 1 .. 3));
    is(length result($child->next), 9_000, 'large') for 1 .. 3;
    $child->end;
    is($? >> 8, 0, 'it ends when its input does');
};

subtest 'many at once' => sub {
    # All in one write: answers come in order, in few reads.
    my $runs = join '', map {
        Argon::Wire::Pool::run(1_000 + $_, 'perl:My::Task::Trial', 1, qq(["echo",$_]))
    } 1 .. 500;
    $child->{reads} = 0;
    $child->raw($runs);
    my @answers = map { $child->next } 1 .. 500;
    is_deeply([map { $_->{id} } @answers], [1_001 .. 1_500], 'in order');
    is_deeply([map { result($_) } @answers], [1 .. 500], 'each its own');
    cmp_ok($child->{reads}, '<', 250, 'in batches');
    # But not behind a task of which nothing is known.
    $child->raw(join '', map { Argon::Wire::Pool::run(@$_) }
        [1, 'perl:My::Task::Trial', 1, '["echo",1]'], [2, 'perl:My::Task::Class', 1, '[]'],
        [3, 'perl:My::Task::Trial', 1, '["sleep",0.3]'], [4, 'perl:My::Task::Trial', 1, '["echo",1]']);
    is($child->next->{id}, $_, 'in order') for 1 .. 4;
    my $large = Argon::Wire::Pool::run(5, 'perl:My::Task::Trial', 1, '["echo","' . 'y' x 300_000 . '"]');
    $child->raw(substr $large, 0, 100_000);
    $child->raw(substr $large, 100_000);
    is(length result($child->next), 300_000, 'a large one in pieces');
};
my $words = $child->end;
is($? >> 8, 0, 'it ends when its input does');
like($words, qr/^on standard output$/m, 'prints are on standard error');

$child = Local::Child->new({ ARGON_ALLOW_EVAL => 1 }, '-M', 'My::Task::Class', '--capability', 'perl:My::*');
is_deeply($child->next->{capabilities}, ['perl:My::*'], 'other capabilities');
my $eval = sub { $child->ask('perl:eval', 1, Argon::JSON::encode($_[0])) };
is(result($eval->({ code => 'sub { $_[0] * $_[1] }', args => [4, 7] })), 28, 'shipped code');
is(result($eval->({ code => 'sub { $_[0] * $x + $y[1] }', args => [4],
    with => { '$x' => 5, '@y' => [1, 2] } })), 22, 'with variables');
is(result($eval->({ code => 'sub { $INC{"My/Task/Class.pm"} ? 1 : 0 }' })), 1, 'preloaded modules');
is(result($eval->({ code => 'sub { __PACKAGE__ }' })), 'main', 'in package main');
is_deeply([map { result($eval->({ code => 'sub { $n++ }', with => { '$n' => 5 } })) } 1 .. 3],
    [5, 5, 5], 'nothing is left for the next');
{
    # Fast answers do not wait behind code that has never run, whatever other code takes.
    my $fast = '{"args":[],"code":"sub { 1 }"}';
    my $slow = '{"args":[],"code":"sub { select undef, undef, undef, 1; 2 }"}';
    $child->raw(join '', (map { Argon::Wire::Pool::run($_, 'perl:eval', 1, $fast) } 1 .. 300),
        Argon::Wire::Pool::run(301, 'perl:eval', 1, $slow));
    my $last;
    $last = $child->next until $last && $last->{id} == 300;
    is($child->{inbox}, '', 'the slow one has not ended when the fast ones are here');
    is($child->next->{id}, 301, 'and it ends too');
    # Nor do those of a run.
    $child->raw(Argon::Wire::Pool::run_many(400, 'perl:eval', 1, [($fast) x 300, $slow]));
    $last = $child->next until $last->{id} == 699;
    is($child->{inbox}, '', 'the slow one of a run has not ended when the fast ones are here');
    is($child->next->{id}, 700, 'and it ends too');
}
my $error = $eval->({ code => 'sub { 1 +', args => [] })->{error};
like($error->{message}, qr/does not compile here: syntax error/, 'code that does not compile');
for my $bad ([], { args => [] }, { code => 'sub { }', args => {} }) {
    is($eval->($bad)->{error}{kind}, 'bad_payload', 'no code');
}
$child->raw(Argon::Wire::Pool::completed(1, 1, 0, ''));
is($child->next, undef, 'a worker that makes no sense is left');
isnt($child->end && $?, 0, 'with an error');

$child = Local::Child->new({});
$child->next;
$child->raw(Argon::Wire::Pool::run_many(1, 'perl:x', 1, ['[]']));
is($child->next, undef, 'a run of one is none');
isnt($child->end && $?, 0, 'and an error');

$child = Local::Child->new({});
$child->next;
$child->raw(substr Argon::Wire::Pool::run(1, 'perl:x', 0, ''), 0, 9);
like($child->end, qr/gone in the middle of a frame/, 'an end in the middle');
isnt($?, 0, 'is an error');

done_testing;
