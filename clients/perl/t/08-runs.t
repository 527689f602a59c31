# Runs, messages that speak of many tasks: what is said in them, and what is believed of them.
use 5.030;
use strict;
use warnings;

use Argon::Client;
use Argon::Wire::Native;
use FindBin;
use lib "$FindBin::Bin/lib";
use Local::FakeManager;
use Test::More;

# A client that is let in, and its manager, which says these things of itself.
sub pair {
    my (%fields) = @_;
    alarm 300;    # Ends a test that hangs, and nothing else: not one on a busy machine.
    my $manager = Local::FakeManager->new(payload_max => 100_000);
    my $client = Argon::Client->new(host => '127.0.0.1', port => $manager->port, name => 'tester',
        in_flight => delete $fields{in_flight} // 5_000);
    return ($client, $manager, $manager->welcome($client, %fields));
}

# What is submitted in here goes in one step.
sub together {
    my ($client, $do) = @_;
    my @deferred;
    {
        no warnings 'redefine';
        local *Argon::Session::step = sub { return $_[1] };
        @deferred = $do->();
    }
    $client->pump;
    return @deferred;
}

# What was said of that many tasks.
sub heard {
    my ($client, $manager, $count) = @_;
    return map { $manager->hear($client, 'submit') } 1 .. $count;
}

sub error_of {
    my ($deferred) = @_;
    return eval { $deferred->(); 1 } ? undef : $@;
}

subtest 'tasks in a row go as one message' => sub {
    my ($client, $manager, $hello) = pair();
    together($client, sub {
        $client->submit('t', \$_, max_wait => 2, at_most_once => 1) for 'one', '', 'three';
    });
    is_deeply($hello->{version}, [1, 1], 'of version 1.1');
    my @submits = heard($client, $manager, 3);
    is_deeply($manager->{runs}, [[0, 3]], 'all in one');
    is_deeply([map { [@$_{qw(seq name payload max_wait at_most_once)}] } @submits],
        [[0, 't', 'one', 2e9, 1], [1, 't', '', 2e9, 1], [2, 't', 'three', 2e9, 1]], 'as they were');
    is($client->{session}->link->{sent}, $manager->{received}, 'which is one message for both');
    $client->submit('t');
    heard($client, $manager, 1);
    is_deeply($manager->{runs}[1], [3, 1], 'what is alone is no run');
};

subtest 'a manager of before is sent a message for each' => sub {
    my ($client, $manager) = pair(version => [1, 0]);
    together($client, sub { $client->submit('t') for 0 .. 2 });
    heard($client, $manager, 3);
    is_deeply($manager->{runs}, [[0, 1], [1, 1], [2, 1]], 'one by one');
    $manager->drop;
    $manager->{runs} = [];
    $manager->welcome($client, version => [1, 7], epoch => 8);
    heard($client, $manager, 3);
    is_deeply($manager->{runs}, [[0, 3]], 'and the next is asked what it speaks');
};

subtest 'rejections in a row come as one message' => sub {
    my ($client, $manager) = pair();
    my @deferred;
    together($client, sub { @deferred = map { $client->defer('t', [], undef, 1) } 0 .. 2 });
    for (0, 1) {
        heard($client, $manager, 3);
        $manager->say({ type => 'reject_run', seq => 0, count => 3, reason => 'queue_full', retry_after => 0,
            may_have_run => 0 });
    }
    my @errors = map { my $deferred = $_; eval { $deferred->(); 1 } ? undef : $@ } @deferred;
    is_deeply([map { [$_->outcome, $_->retries] } @errors], [(['rejected', 1]) x 3], 'each is rejected');
    my %run = (type => 'reject_run', seq => ~0 - 1, count => 2, reason => 'queue_full');
    is(scalar @{ Argon::Wire::Native::rejects(\%run) }, 2, 'the last numbers that there are');
    for my $bad ({ seq => ~0 }, { count => 1 }, { count => 1_025 }) {
        eval { Argon::Wire::Native::rejects({ %run, %$bad }) };
        like($@, qr/a run/, 'what is no run');
    }
};

subtest 'only what is alike goes together' => sub {
    my @others = (
        { priority     => 5 }, { max_attempts => 2 }, { at_most_once => 1 }, { deadline => 9 },
        { max_wait => 1 }, { time_limit => 1 }, { name => 'u' }, { argument => 1 },
    );
    for my $other (@others) {
        my ($client, $manager) = pair();
        my ($what) = %$other;
        my %options = %$other;
        my $name = delete $options{name} // 't';
        my $argument = delete $options{argument} ? [1] : \'1';
        together($client, sub {
            $client->submit('t', \'1') for 0 .. 1;
            $client->submit($name, $argument, %options) for 2 .. 3;
        });
        heard($client, $manager, 4);
        my $second = $what eq 'deadline' ? [2, $manager->{runs}[1][1]] : [2, 2];
        is_deeply([@{ $manager->{runs} }[0, 1]], [[0, 2], $second], "apart: $what");
    }
    my ($client, $manager) = pair();
    together($client, sub { $client->submit('t', undef, priority => $_) for 4, 4, 2, 2, 4 });
    heard($client, $manager, 5);
    is_deeply($manager->{runs}, [[2, 2], [0, 2], [4, 1]], 'what is more important goes first');
};

subtest 'runs are no longer than they may be' => sub {
    is_deeply([Argon::Session::RUN_TASKS, Argon::Session::RUN_BYTES], [1_024, 30 * 1_024], 'limits');
    my ($client, $manager) = pair();
    together($client, sub { $client->submit('t', \('x' x 10_240)) for 0 .. 3 });
    heard($client, $manager, 4);
    is_deeply($manager->{runs}, [[0, 3], [3, 1]], 'in bytes');
    $manager->{runs} = [];
    together($client, sub { $client->submit('t', \$_) for 'x' x 30_721, '', '' });
    heard($client, $manager, 3);
    is($manager->{runs}[0][1], 1, 'and what is long goes alone');
    $client->{session}{window}{size} = 5_000;
    $manager->{runs} = [];
    together($client, sub { $client->submit('t') for 1 .. 1_030 });
    heard($client, $manager, 1_030);
    is_deeply([map { $_->[1] } @{ $manager->{runs} }], [1_024, 6], 'in tasks');
};

subtest 'a cancel comes after its task' => sub {
    my ($client, $manager) = pair();
    my @deferred = together($client, sub { map { $client->submit('t') } 0 .. 2 });
    heard($client, $manager, 3);
    $manager->drop;
    $deferred[1]->cancel;
    $manager->{runs} = [];
    $manager->welcome($client, epoch => 8);
    is($manager->hear($client, 'cancel')->{seq}, 1, 'it is cancelled');
    is_deeply($manager->{runs}[0], [0, 2], 'after it was submitted, with those before');
    heard($client, $manager, 1);
    is_deeply($manager->{runs}[1], [2, 1], 'and before those that follow');
};

subtest 'outcomes in a run' => sub {
    my ($client, $manager) = pair();
    my @deferred = together($client, sub { map { $client->submit('t') } 0 .. 4 });
    heard($client, $manager, 5);
    $manager->completed_run(0, [[3, '"three"'], [0, '0'], [1, '[1]']]);
    is_deeply([map { $deferred[$_]->() } 0, 1, 3], [0, [1], 'three'], 'each is delivered');
    ok(!$deferred[2]->is_finished && !$deferred[4]->is_finished, 'and no other');
    my $ack;
    $ack = $manager->hear($client, 'ack_outcomes') until $ack && $ack->{floor};
    is_deeply([@$ack{qw(floor seqs)}], [2, [3]], 'each is acknowledged');
    is($client->{session}->link->{received}, 1, 'it is one message');
    $manager->completed_run(1, [[0, '"other"'], [3, '4'], [1, '2']]);
    is_deeply([map { $deferred[$_]->() } 1, 2, 4], [[1], 2, 4], 'the first of two counts');
    undef $ack;
    $ack = $manager->hear($client, 'ack_outcomes') until $ack && $ack->{floor} > 2;
    is_deeply([@$ack{qw(floor seqs)}], [5, []], 'and both are acknowledged');
};

subtest 'a run that is none' => sub {
    my %none = (
        'results that are longer'  => [0, [[0, '1'], [1, '1']], payload => '123'],
        'results that are shorter' => [0, [[0, '1'], [1, '1']], payload => '1'],
        'one'                      => [0, [[0, '1']]],
        'nothing'                  => [0, []],
        'too many'                 => [0, [map { [0, ''] } 0 .. 1_024]],
        'numbers that there are not'      => [~0, [[0, '1'], [1, '1']]],
        'numbers that there are not, too' => [~0 - 7, [[8, '1'], [0, '1']]],
    );
    for my $what (sort keys %none) {
        my ($client, $manager) = pair();
        my @deferred = together($client, sub { map { $client->submit('t') } 0 .. 1 });
        heard($client, $manager, 2);
        $manager->completed_run(@{ $none{$what} });
        my $hello = $manager->hear($client, 'hello');
        is($hello->{session}, 7, "$what: it is dialled again");
        ok(!(grep { $_->is_finished } @deferred), 'and nothing has ended');
    }
    my ($client, $manager) = pair(in_flight => 1);
    my @deferred = together($client, sub { map { $client->submit('t') } 0 .. 1 });
    heard($client, $manager, 1);
    $manager->completed_run(0, [[1, '"1"'], [0, '"0"']]);
    $manager->hear($client, 'hello');
    ok(!(grep { $_->is_finished } @deferred), 'what was not submitted has no end, nor what comes after');
};

subtest 'what interrupts a run loses nothing' => sub {
    my ($client, $manager) = pair();
    {
        no warnings 'redefine';
        my $flush = \&Argon::Session::_flush_run;
        my $calls = 0;
        local *Argon::Session::_flush_run = sub { $calls++ ? die "alarm\n" : goto &$flush };
        ok(!eval { $client->submit('t') for 0 .. 1; $client->pump; 1 }, 'interrupted');
    }
    ok(!$client->{session}{run}, 'it is forgotten');
    $manager->welcome($client, resumed => 1);
    my $resume = $manager->hear($client, 'resume');
    $manager->say({ type => 'unknown', seqs => $resume->{seqs} });
    is($manager->hear($client, 'submit')->{seq}, 0, 'and goes when it is asked for');
};

done_testing;
