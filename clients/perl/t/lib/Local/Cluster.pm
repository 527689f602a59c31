package Local::Cluster;

# Managers and workers of the real binary, for tests. Nothing here sleeps for a time that
# somebody guessed: it waits for events, and gives up loudly.

use 5.030;
use strict;
use warnings;

use Argon::Client;
use Exporter qw(import);
use FindBin;
use IO::Socket::INET;
use POSIX qw(WNOHANG);
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(manager worker perl_worker stop until_true argon client free_port PATIENCE);

use constant PATIENCE => 60;

my $root = "$FindBin::Bin/..";
my (%running, $logs);
# Whoever runs the tests may have keys of a real cluster.
delete $ENV{ARGON_KEY};

# The binary, or the end of the test file.
sub argon {
    my $path = $ENV{ARGON_BIN};
    plan skip_all => 'set ARGON_BIN to the argon program (cargo build -p argon-cli) to run these'
        if !defined $path;
    -x $path or BAIL_OUT("ARGON_BIN is $path, which is no program");
    return $path;
}

sub free_port {
    my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "listen: $!";
    return $socket->sockport;
}

sub _start {
    my (@command) = @_;
    pipe my $out, my $in or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>&', $in or POSIX::_exit(1);
        my $log = $ENV{ARGON_TEST_LOG} // '/dev/null';
        open STDERR, '>>', $log or POSIX::_exit(1);
        close $out;
        exec @command or POSIX::_exit(1);
    }
    $running{$pid} = 1;
    return ($pid, $out);
}

# A manager on a port: (pid, port).
sub manager {
    my ($port, @options) = @_;
    my ($pid, $out) = _start(argon(), 'manager', '--port', $port // 0, @options);
    # Ends a test that hangs, here or later.
    $SIG{ALRM} = sub { die "the test hangs\n" };
    alarm 2 * PATIENCE;
    my $line = <$out> // '';
    $line =~ /listening on \S+:(\d+)$/ or die "the manager said: $line\n";
    return ($pid, $1);
}

# A worker with whatever program, by its process id.
sub worker {
    my ($port, @options) = @_;
    my ($pid) = _start(argon(), 'worker', '--manager', "127.0.0.1:$port", @options);
    return $pid;
}

sub perl_worker {
    my ($port, @options) = @_;
    my @program = ($^X, "$root/bin/argon-pool", '-I', "$FindBin::Bin/lib");
    return worker($port, @options, '--', @program);
}

sub stop {
    my ($pid, $signal) = @_;
    return if !delete $running{$pid};
    kill $signal // 'KILL', $pid;
    waitpid $pid, 0;
    return;
}

sub client {
    my ($port, @options) = @_;
    return Argon::Client->new(host => '127.0.0.1', port => $port, @options);
}

# Waits until something is so; says what is not after a minute.
sub until_true {
    my ($what, $check) = @_;
    my $end = time + PATIENCE;
    while (time < $end) {
        return 1 if eval { $check->() };
        sleep 0.01;
    }
    fail($what);
    die "it never came to this: $what\n";
}

END {
    my $status = $?;
    stop($_) for keys %running;
    $? = $status;
}

1;
