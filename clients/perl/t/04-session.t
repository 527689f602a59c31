# What a client says to its manager, message by message, against one that says what the test wants.
use 5.030;
use strict;
use warnings;

use Argon::Client qw(:priorities);
use FindBin;
use lib "$FindBin::Bin/lib";
use Local::FakeManager;
use Test::More;
use POSIX ();
use Time::HiRes qw(time);

# A client that is let in, and its manager.
sub pair {
    my ($options, @manager) = @_;
    alarm 300;    # Ends a test that hangs, and nothing else: not one on a busy machine.
    my $manager = Local::FakeManager->new(@manager);
    my $client = Argon::Client->new(host => '127.0.0.1', port => $manager->port, name => 'tester',
        %$options);
    return ($client, $manager, $manager->welcome($client));
}

sub error_of {
    my ($deferred) = @_;
    return eval { $deferred->(); 1 } ? undef : $@;
}

subtest 'greeting' => sub {
    my ($client, $manager, $hello) = pair({});
    is($hello->{role}, 'client', 'as a client');
    is($hello->{session}, undef, 'with no session');
    is($hello->{name}, 'tester', 'by its name');
    my (undef, undef, $other) = pair({});
    isnt($hello->{peer}, $other->{peer}, 'and an id of its own');
    $client->shutdown;
    is($manager->hear(Argon::Client->new(host => '127.0.0.1', port => 1), 'goodbye')->{type},
        'goodbye', 'and says goodbye');
};

subtest 'in a process of a pool' => sub {
    local $ENV{ARGON_PROCESS} = '01020304050607ff.3.9';
    my ($client, $manager) = pair({});
    my $within = $manager->hear($client, 'within');
    is_deeply([@$within{qw(worker slot life)}], [72_623_859_790_383_103, 3, 9], 'it says which');
    $ENV{ARGON_PROCESS} = 'no.such.thing';
    my ($other, $its) = pair({});
    $other->defer('My::Task', []);
    is($its->hear($other, 'submit')->{type}, 'submit', 'and nothing if it makes no sense');
};

subtest 'a task' => sub {
    my ($client, $manager) = pair({});
    my $deferred = $client->defer('My::Task', [4, 'x'], $PRI_HIGH);
    my $submit = $manager->hear($client, 'submit');
    is_deeply([@$submit{qw(name content payload seq)}], ['perl:My::Task', 1, '[4,"x"]', 0], 'goes');
    is_deeply([@$submit{qw(priority max_attempts at_most_once may_have_run)}], [2, 3, 0, 0],
        'with what is asked of it');
    is_deeply([@$submit{qw(deadline max_wait time_limit)}], [~0, ~0, ~0], 'and no limits');
    ok(!$deferred->is_finished, 'has not ended');
    $manager->completed(0, '{"a":[1]}');
    is_deeply($deferred->(), { a => [1] }, 'its result');
    is_deeply($deferred->(), { a => [1] }, 'and again');
    ok($deferred->is_finished, 'has ended');
    my $ack = $manager->hear($client, 'ack_outcomes');
    is_deeply([@$ack{qw(floor seqs)}], [1, []], 'is acknowledged');
    $manager->completed(0, '5');
    is($manager->hear($client, 'ack_outcomes')->{floor}, 1, 'once more if it comes again');
    is_deeply($deferred->(), { a => [1] }, 'but the first counts');

    my $other = $client->submit('m:f', \"\x00\xff", deadline => 5, max_wait => 2, time_limit => 1.5,
        max_attempts => 16, at_most_once => 1, priority => 0);
    $submit = $manager->hear($client, 'submit');
    is_deeply([@$submit{qw(name content payload seq)}], ['m:f', 0, "\x00\xff", 1], 'bytes go');
    is_deeply([@$submit{qw(priority max_attempts at_most_once max_wait time_limit)}],
        [0, 16, 1, 2e9, 1.5e9], 'with limits');
    cmp_ok($submit->{deadline}, '<=', 5e9, 'a deadline is what is left of it');
    cmp_ok($submit->{deadline}, '>', 1e9, 'and that is most of it');
    $manager->say({ type => 'outcome', seq => 1, outcome => 'completed', ran => 1, waited => 1,
        worker => 'w', charged => 0, content => 0, payload => "\xfe" });
    is($other->(), "\xfe", 'and bytes come back');
    my $pickle = $client->submit('m:g');
    $manager->hear($client, 'submit');
    $manager->say({ type => 'outcome', seq => 2, outcome => 'completed', ran => 1, waited => 1,
        worker => 'w', charged => 0, content => 3, payload => 'x' });
    my $error = error_of($pickle);
    is($error->outcome, 'unusable', 'what is no JSON');
    like($error, qr/content 3 \(a Python pickle\), but Perl reads/, 'is a clear error');
};

subtest 'acknowledgements have a floor' => sub {
    my ($client, $manager) = pair({});
    my @deferred = map { $client->submit("t$_") } 0 .. 4;
    $manager->hear($client, 'submit') for 0 .. 4;
    $manager->completed($_, 'null') for 4, 2;
    $deferred[$_]->() for 2, 4;
    my %acked;
    my $floor;
    until (keys %acked == 2) {
        my $ack = $manager->hear($client, 'ack_outcomes');
        $floor = $ack->{floor};
        $acked{$_} = 1 for @{ $ack->{seqs} };
    }
    is($floor, 0, 'the first task that has not ended');
    is_deeply([sort keys %acked], [2, 4], 'and those beyond it');
    $manager->completed($_, 'null') for 0, 1;
    $deferred[1]->();
    is($manager->all($client, 'ack_outcomes') && $client->{session}{floor}, 3, 'it rises');
};

subtest 'errors' => sub {
    my ($client, $manager) = pair({});
    my @deferred = map { $client->submit("t$_") } 0 .. 5;
    $manager->hear($client, 'submit') for 0 .. 5;
    my @history = ({ worker => 'w1', end => 'child_crashed', cause => 'signal', code => 9 });
    $manager->say({ type => 'outcome', seq => 0, outcome => 'failed', ran => 1,
        waited => 1, worker => 'w1', history => \@history,
        content => 1, payload => '{"type":"My::Error","args":[{"code":5}]}',
        error => { kind => 'raised', type => 'My::Error', message => "boom at x line 3.\n",
            backtrace => 'main::f', stderr => 'warned' } });
    my $error = error_of($deferred[0]);
    is("$error", "boom at x line 3.\n", 'the message, to the letter');
    is_deeply([map { $error->$_ } qw(outcome kind type backtrace stderr may_have_run)],
        ['failed', 'raised', 'My::Error', 'main::f', 'warned', 1], 'and what else is known');
    is_deeply($error->history, \@history, 'its history');
    is($error->detail->{args}[0]{code}, 5, 'its data');
    $manager->say({ type => 'outcome', seq => 1, outcome => 'failed', ran => 1,
        waited => 1, worker => 'w1', history => [],
        error => { kind => 'signal', code => 11 } });
    like(error_of($deferred[1]), qr/ended by signal 11/, 'an error without a message has one');
    $manager->say({ type => 'outcome', seq => 2, outcome => 'expired', may_have_run => 1 });
    $error = error_of($deferred[2]);
    ok($error->outcome eq 'expired' && $error->may_have_run, 'expired');
    $manager->say({ type => 'outcome', seq => 3, outcome => 'cancelled', may_have_run => 0 });
    $error = error_of($deferred[3]);
    ok($error->outcome eq 'cancelled' && !$error->may_have_run, 'cancelled');
    $manager->say({ type => 'outcome', seq => 4, outcome => 'lost', history => \@history });
    ok(error_of($deferred[4])->may_have_run, 'lost');
    $manager->reject(5, 'no_runner', similar => ['t6', 't7']);
    $error = error_of($deferred[5]);
    like($error, qr/no worker runs tasks of that name; there is t6, t7/, 'nobody runs it');
    is_deeply([$error->outcome, $error->reason, $error->retries, $error->similar],
        ['rejected', 'no_runner', 0, ['t6', 't7']], 'which no other try can change');
    my $big = eval { $client->submit('big', \('x' x 2_000)); 1 } ? undef : $@;
    like($big, qr/2000 bytes, where at most 1000/, 'too large is said at once');
};

subtest 'rejections' => sub {
    my ($client, $manager) = pair({ max_tries => 2 });
    my $deferred = $client->submit('t');
    for my $try (0 .. 2) {
        my $submit = $manager->hear($client, 'submit');
        is_deeply([@$submit{qw(seq may_have_run)}], [0, 0], "try $try");
        $manager->reject(0, 'queue_full');
    }
    my $error = error_of($deferred);
    is_deeply([$error->outcome, $error->reason, $error->retries, $error->may_have_run],
        ['rejected', 'queue_full', 2, 0], 'then it is over');
    my $once = $client->defer('T', [], undef, 0);
    $manager->hear($client, 'submit');
    $manager->reject(1, 'displaced');
    is(error_of($once)->retries, 0, 'a task may say otherwise');

    my $advised = $client->submit('t');
    $manager->hear($client, 'submit');
    my $start = time;
    $manager->reject(2, 'queue_full', retry_after => 100e6);
    $manager->hear($client, 'submit');
    cmp_ok(time - $start, '>=', 0.1, 'the advice is followed');
    for (1 .. 5) {
        $manager->reject(2, 'queue_full', may_have_run => 1);
        ok($manager->hear($client, 'submit')->{may_have_run}, 'what may have run is tried on');
    }
    $manager->reject(2, 'no_runner');
    is(error_of($advised)->outcome, 'lost', 'and is never called rejected');
};

subtest 'resuming' => sub {
    my ($client, $manager, $first) = pair({});
    my @deferred = map { $client->submit("t$_") } 0 .. 3;
    $manager->hear($client, 'submit') for 0 .. 3;
    $manager->completed(1, '"one"');
    $manager->hear($client, 'ack_outcomes');
    $deferred[3]->cancel;
    is($manager->hear($client, 'cancel')->{seq}, 3, 'a cancel is asked for');
    $manager->drop;
    my $hello = $manager->hear($client, 'hello');
    is($hello->{peer}, $first->{peer}, 'the same peer');
    is($hello->{session}, 7, 'names the session');
    cmp_ok($hello->{connection}, '>', $first->{connection}, 'with a higher number');
    $manager->say({ type => 'welcome', epoch => 7, resumed => 1, lease => 2e9, payload_max => 1_000 });
    is_deeply($manager->hear($client, 'resume')->{seqs}, [0, 2, 3], 'and all that has not ended');
    is($manager->hear($client, 'cancel')->{seq}, 3, 'the cancel again');
    $manager->say({ type => 'unknown', seqs => [2, 3] });
    my $submit = $manager->hear($client, 'submit');
    is_deeply([@$submit{qw(seq name may_have_run)}], [2, 't2', 0], 'what is unknown goes again');
    is(error_of($deferred[3])->outcome, 'cancelled', 'unless it was cancelled');
    $manager->completed(0, '"zero"');
    $manager->completed(2, '"two"');
    is($deferred[$_]->(), [qw(zero one two)]->[$_], "result $_") for 0 .. 2;
    is(scalar(grep { $_->{seq} != 2 } $manager->all($client, 'submit')), 0, 'nothing went twice');
};

subtest 'a manager that forgot' => sub {
    for my $welcome ([epoch => 8, resumed => 0], [epoch => 7, resumed => 0], [epoch => 8, resumed => 1]) {
        my ($client, $manager) = pair({});
        my @deferred = map { $client->submit("t$_") } 0 .. 2;
        $manager->hear($client, 'submit') for 0 .. 2;
        $manager->reject(1, 'queue_full', retry_after => 5e9);
        $manager->all($client, 'nothing');
        $manager->drop;
        $manager->welcome($client, @$welcome);
        my %submits;
        until (keys %submits == 3) {
            my $submit = $manager->hear($client, 'submit');
            $submits{ $submit->{seq} } = $submit->{may_have_run};
        }
        is_deeply(\%submits, { 0 => 1, 1 => 0, 2 => 1 }, "all go again (@$welcome)");
        $manager->completed($_, $_) for 0 .. 2;
        is_deeply([map { $_->() } @deferred], [0, 1, 2], 'and end');
    }
};

subtest 'silence' => sub {
    my ($client, $manager) = pair({}, lease => 0.2e9);
    $client->submit('t');
    my $submit = $manager->hear($client, 'submit');
    until (@{ $manager->{pings} // [] } >= 3) { $client->pump(0.01); $manager->look }
    is($manager->{pings}[-1]{received}, 0, 'pings count what was taken in');
    $manager->completed(0, '1');
    my $pings = @{ $manager->{pings} };
    until (@{ $manager->{pings} } > $pings + 1) { $client->pump(0.01); $manager->look }
    is($manager->{pings}[-1]{received}, 1, 'messages, without the handshake and pongs');
    $manager->{pong} = 0;
    my $hello = $manager->hear($client, 'hello');
    is($hello->{session}, 7, 'a silent manager is left, and dialled again');

    ($client, $manager) = pair({}, lease => 0.2e9);
    $client->submit('t');
    my $deaf = 0;
    $manager->hear($client, 'submit');
    $manager->{received} = 0;
    is($manager->hear($client, 'hello')->{session}, 7, 'and so is one that takes nothing in');

    ($client, $manager) = pair({}, lease => 0.2e9);
    $client->submit('t');
    $manager->hear($client, 'submit');
    $manager->{pong} = 0;
    until (@{ $manager->{pings} // [] } >= 12) {
        $manager->say({ type => 'paused' });
        $client->pump(0.01);
        $manager->look;
    }
    ok(!grep({ $_->{type} eq 'hello' } $manager->all($client, 'hello')), 'one that reads later is not');
    is($manager->{pings}[-1]{received}, 0, 'and that is not counted');

    ($client, $manager) = pair({});
    until (@{ $manager->{pings} // [] }) { $client->pump(0.01); $manager->look }
    $manager->say({ type => 'pong', nonce => 1, received => 99 });
    is($manager->hear($client, 'hello')->{session}, 7, 'and one that counts what was not sent');

    ($client, $manager) = pair({}, lease => 0.2e9);
    my $deferred = $client->submit('t');
    $manager->hear($client, 'submit');
    # This program computes for longer than the lease.
    select undef, undef, undef, 0.5;
    $client->pump;
    ok($client->{session}->link->is_up, 'our own silence is not the manager\'s');
    $manager->completed(0, '"meanwhile"');
    is($deferred->(), 'meanwhile', 'what came is read');
    ok(!grep({ $_->{type} eq 'hello' } $manager->all($client, 'hello')), 'so the connection stays');
};

subtest 'nonsense ends a connection and nothing else' => sub {
    for my $nonsense (
        pack('VC', 0, 0), pack('VCV', 5, 0, 99), pack('VCV', ~0 & 0xffffffff, 0, 11),
        pack('VCVQ<V', 17, 0, 11, 0, 77), pack('VCV', 5, 0, 6),
        ) {
        my ($client, $manager) = pair({});
        my $deferred = $client->submit('t');
        $manager->hear($client, 'submit');
        $manager->raw($nonsense);
        $manager->welcome($client, resumed => 1);
        $manager->hear($client, 'resume');
        $manager->completed(0, '3');
        is($deferred->(), 3, 'after ' . unpack 'H*', $nonsense);
    }
};

subtest 'bounds' => sub {
    my ($client, $manager) = pair({ in_flight => 3 });
    my @deferred = map { $client->submit("t$_") } 0 .. 9;
    is(scalar $manager->all($client, 'submit'), 3, 'no more in flight than allowed');
    $manager->completed(1, '1');
    is($manager->hear($client, 'submit')->{seq}, 3, 'the next when one has ended');
    my $urgent = $client->submit('urgent', undef, priority => 0);
    is($manager->hear($client, 'submit')->{name}, 'urgent', 'what is urgent does not wait behind');
    is($client->pending, 10, 'all are counted');
    $manager->reject(0, 'no_runner') ;
    my @more = $manager->all($client, 'submit');
    is(scalar @more, 0, 'which makes no room for others');

    ($client, $manager) = pair({ max_tasks => 2 });
    $client->submit("t$_") for 0 .. 1;
    $manager->hear($client, 'submit') for 0 .. 1;
    my $late = 0;
    local $SIG{ALRM} = sub { $late++; die "full\n" };
    Time::HiRes::alarm(0.2);
    ok(!eval { $client->submit('t2'); 1 }, 'no more are held than allowed');
    is($@, "full\n", 'it waits, until a signal in this case');
    $manager->welcome($client, resumed => 1);
    is_deeply($manager->hear($client, 'resume')->{seqs}, [0, 1], 'which costs a reconnection only');
};

subtest 'deadlines' => sub {
    my ($client, $manager) = pair({}, lease => 0.1e9);
    my $deferred = $client->submit('t', undef, deadline => 0.05);
    $manager->hear($client, 'submit');
    close $manager->{listener};
    $manager->drop;
    my $error = error_of($deferred);
    is_deeply([$error->outcome, $error->may_have_run], ['expired', 1],
        'end tasks of which nothing is heard');
    ($client, $manager) = pair({ in_flight => 1 });
    my $first = $client->submit('t');
    my $second = $client->submit('t', undef, deadline => 0.05);
    $error = error_of($second);
    is_deeply([$error->outcome, $error->may_have_run], ['expired', 0], 'and tasks that wait here');
    is($client->pending, 1, 'and no others');
    my $third = $client->submit('t');
    $third->cancel;
    is(error_of($third)->outcome, 'cancelled', 'a task that waits here is cancelled here');
};

subtest 'status' => sub {
    my ($client, $manager) = pair({});
    my %zero = map { $_ => 0 } qw(
        epoch uptime draining queued queued_bytes queue_size queue_bytes returning unroutable unclaimed
        assigned unacknowledged orphans waiting oldest_wait estimated_wait capacity workers clients accepted
        rejected displaced completed not_completed attempts_lost rate
    ), map { "queued_$_" } 0 .. 7;
    my $worker = sub {
        my %row = map { $_ => 0 } qw(
            peer connected draining capacity window assigned oldest finished failed average slowness
            last_heard
        );
        return { %row, name => $_[0] };
    };
    # The manager is another process, so that the client can wait for it.
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        eval {
            local $SIG{ALRM} = sub { die "late\n" };
            alarm 120;
            my $nobody = bless {}, 'Local::Nobody';
            my $page = $manager->hear($nobody, 'status_query')->{page};
            $manager->drop if $page == 0;
            my $hello = $manager->hear($nobody, 'hello');
            $manager->say({ type => 'welcome', epoch => 7, resumed => 1, lease => 2e9,
                payload_max => 1_000 });
            for my $want (0, 1) {
                $page = $manager->hear($nobody, 'status_query')->{page};
                die "page $page\n" if $page != $want;
                $manager->say({ type => 'status', more => 1 - $want, clients => [], groups => [],
                    manager => { %zero, workers => 2, capacity => 9, assigned => 4, queued => 3 },
                    workers => [$worker->("w$want")] });
            }
            for my $want (0, 1) {
                $page = $manager->hear($nobody, 'running_query')->{page};
                die "page $page\n" if $page != $want;
                $manager->say({ type => 'running', more => 1 - $want, tasks => [{ peer => 255,
                    seq => $want, name => 't', worker => 'w1', age => 1.5e9 }] });
            }
            1;
        } or warn $@;
        sleep 20;
        POSIX::_exit(0);
    }
    close $manager->{socket};
    my %status = $client->server_status;
    is_deeply([@status{qw(workers total_capacity current_capacity queue_length)}], [2, 9, 5, 3],
        'counts');
    is_deeply($status{pending}, { w0 => {}, w1 => { '00000000000000ff-0' => 1.5, '00000000000000ff-1' => 1.5 } },
        'what runs where, on two pages, with an entry for who is idle');
    is_deeply([map { $_->{name} } @{ $status{worker_list} }], ['w0', 'w1'],
        'workers, once each although the connection broke');
    kill 'KILL', $pid;
    waitpid $pid, 0;
};

sub Local::Nobody::pump { return }

subtest 'several managers' => sub {
    my @managers = map { Local::FakeManager->new(epoch => $_) } 1, 2;
    my $client = Argon::Client->new(addresses => join ',', map { $_->address } @managers);
    $managers[0]->welcome($client);
    my @deferred = map { $client->submit("t$_") } 0 .. 1;
    $managers[0]->hear($client, 'submit') for 0 .. 1;
    $managers[0]->reject(0, 'no_workers', retry_after => 20e9);
    $managers[0]->hear($client, 'goodbye');
    $managers[1]->welcome($client);
    my %submits = map { $_->{seq} => $_->{may_have_run} }
        map { $managers[1]->hear($client, 'submit') } 0 .. 1;
    is_deeply(\%submits, { 0 => 0, 1 => 1 }, 'one without workers is left for the next');
    close $managers[1]{listener};
    $managers[1]->drop;
    $managers[0]->welcome($client, epoch => 1);
    $managers[0]->hear($client, 'submit') for 0 .. 1;
    pass('and one that is gone');
    $managers[0]->completed($_, $_) for 0, 1;
    is_deeply([map { $_->() } @deferred], [0, 1], 'with all tasks');
};

subtest 'nobody there' => sub {
    my $manager = Local::FakeManager->new;
    my $port = $manager->port;
    close $manager->{listener};
    my $client = Argon::Client->new(host => '127.0.0.1', port => $port, connect_timeout => 0.1);
    ok(!eval { $client->process('T'); 1 }, 'dies');
    is($@->outcome, 'not_connected', 'with that reason');
    like($@, qr/cannot reach a manager: 127.0.0.1:$port: Connection refused/, 'and the place');
    is($client->pending, 0, 'and nothing is left');

    $manager = Local::FakeManager->new;
    $client = Argon::Client->new(host => '127.0.0.1', port => $manager->port);
    $manager->hear($client, 'hello');
    $manager->say({ type => 'refuse', reason => 'version', version => [2, 0] });
    ok(!eval { $client->connect; 1 }, 'refused');
    like($@, qr/refused: version: it speaks version 2\.0/, 'with the reason');
};

subtest 'a manager that lies' => sub {
    my ($client, $manager) = pair({});
    my $deferred = $client->submit('t');
    my $seq = $manager->hear($client, 'submit')->{seq};
    my $lie = sub {
        my ($words, @messages) = @_;
        $manager->say($_) for @messages;
        $manager->hear($client, 'hello');
        like($client->{session}->link->problem, $words, 'closes the connection');
        $manager->say({ type => 'welcome', epoch => 7, resumed => 1, lease => 2e9, payload_max => 9 });
        is_deeply($manager->hear($client, 'resume')->{seqs}, [$seq], 'and the task goes on');
    };
    my $unknown = { type => 'unknown', seqs => [$seq] };
    $lie->(qr/does not know a task that it was just sent/, $unknown);
    $manager->say($unknown);
    is($manager->hear($client, 'submit')->{seq}, $seq, 'what it was asked about may be unknown');
    $lie->(qr/does not know/, $unknown);
    $client->{session}{window}{size} = 1;
    my $later = $client->submit('t');
    $lie->(qr/ended a task that it was not sent/, { type => 'outcome', seq => $seq + 1,
        outcome => 'cancelled', may_have_run => 0 });
    ok(!$later->is_finished, 'which has not ended');
    $manager->completed($seq, '1');
    is($deferred->(), 1, 'and an honest word ends a task');

    for ([0, 0.02], [2**63, 3_600], [~0, 2], [5e9, 5]) {
        my ($said, $kept) = @$_;
        my $fake = Local::FakeManager->new(lease => $said);
        my $other = Argon::Client->new(host => '127.0.0.1', port => $fake->port);
        $fake->welcome($other);
        cmp_ok(abs($other->{session}->link->lease - $kept), '<', 1e-6, "a lease of $said is one of $kept s");
    }
    my $fake = Local::FakeManager->new(payload_max => 2**32 - 1);
    my $other = Argon::Client->new(host => '127.0.0.1', port => $fake->port);
    $fake->welcome($other);
    is($other->{session}->payload_max, 1 << 30, 'what it takes has a bound');
    $fake = Local::FakeManager->new;
    $other = Argon::Client->new(host => '127.0.0.1', port => $fake->port, connect_timeout => 0.2);
    $fake->hear($other, 'hello');
    $fake->say({ type => 'welcome', version => [2, 0], epoch => 7, resumed => 0, lease => 2e9,
        payload_max => 9 });
    ok(!eval { $other->connect; 1 }, 'another major version is refused');
    like($@, qr/speaks version 2\.0/, 'by its number');
};

subtest 'managers that are restarted for ever' => sub {
    my ($client, $manager) = pair({});
    my ($once, $often) = map { $client->submit('t', undef, at_most_once => $_) } 1, 0;
    $manager->hear($client, 'submit') for 1 .. 2;
    my $session = $client->{session};
    my $up = { type => 'welcome', resumed => 0, payload_max => 9 };
    # By hand, so that no time has to pass.
    my $restart = sub {
        my ($held) = @_;
        $session->{began} = ($session->{cut_at} = Argon::Link::now()) - $held;
        $session->on_up(Argon::Link::now(), $up);
        $session->step(Argon::Link::now());
    };
    $restart->($_) for 100, 20, 31, 20, 0.1, 5;
    ok(!$once->is_finished, 'what may run only once waits for a worker to claim it');
    $restart->(4);
    is(error_of($once)->outcome, 'lost', 'until managers have waited long enough together');
    $restart->(20) for 1 .. 9;
    ok(!$often->is_finished, 'what may run again is submitted again');
};

subtest 'addresses' => sub {
    for my $host ('::1', '[::1]') {
        my $client = Argon::Client->new(host => $host, port => 1, connect_timeout => 0.1);
        ok(!eval { $client->connect; 1 }, "nobody is at $host");
        like($@, qr/manager: \[::1\]:1: (?:Connection refused|.*assign)/, 'which was understood');
    }
    is_deeply([Argon::Client::split_address('[::1]:80')], ['::1', 80], 'and with a port');
};

subtest 'a manager that stays away' => sub {
    my ($client, $manager) = pair({});
    my @said;
    local $SIG{__WARN__} = sub { push @said, @_ };
    close $manager->{listener};
    $manager->drop;
    $client->pump(0.05);
    is_deeply(\@said, [], 'is no news at first');
    $client->{dialled_at} -= 6;
    $client->pump(0.05);
    is(scalar @said, 1, 'is said once');
    like($said[0], qr/^argon: cannot reach a manager \(127.*refused\); still trying$/, 'with the reason');
    $client->{told_at} -= 60;
    $client->{dialled_at} -= 60;
    $client->pump(0.05);
    is(scalar @said, 2, 'and again a minute later');
};

subtest 'forks' => sub {
    my ($client, $manager) = pair({});
    my $deferred = $client->submit('t');
    $manager->hear($client, 'submit');
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        my $error = error_of($deferred);
        $client->shutdown;
        undef $client;
        POSIX::_exit($error && $error =~ /belongs to the process/ ? 0 : 1);
    }
    waitpid $pid, 0;
    is($?, 0, 'a child does not have the tasks of its parent');
    $manager->completed(0, '8');
    is($deferred->(), 8, 'and does not take them away');
    is(scalar $manager->all($client, 'goodbye'), 0, 'or say goodbye for it');
};

subtest 'wrong use' => sub {
    my ($client, $manager) = pair({});
    for (
        [sub { Argon::Client->new }, qr/host and a port/],
        [sub { Argon::Client->new(host => 'x', port => 'y') }, qr/port must be a number/],
        [sub { Argon::Client->new(host => 'x', port => 1, retry => 1) }, qr/no option retry/],
        [sub { Argon::Client->new(addresses => 'nowhere') }, qr/not HOST:PORT/],
        [sub { Argon::Client->new(host => 'x', port => 1, in_flight => 0) }, qr/in_flight must be/],
        [sub { $client->process('no such class') }, qr/a task is a code reference or/],
        [sub { $client->process('T', 'x') }, qr/arguments are an array reference/],
        [sub { $client->process('T', [sub { }]) }, qr/cannot send the arguments: they hold a code/],
        [sub { $client->process('T', [], 9) }, qr/from 0 to 7/],
        [sub { $client->submit('T', [], nice => 1) }, qr/no option nice/],
        [sub { $client->submit('T', [], max_attempts => 17) }, qr/from 1 to 16/],
        [sub { $client->submit('', []) }, qr/a name must have/],
        [sub { $client->collect('x') }, qr/no task x to collect/],
        ) {
        my ($code, $words) = @$_;
        ok(!eval { $code->(); 1 }, 'dies');
        like($@, $words, 'and says why');
        like($@, qr/ at \Q$0\E line/, 'and where') ;
    }
    is(scalar $manager->all($client, 'submit'), 0, 'nothing was sent');
};

done_testing;
