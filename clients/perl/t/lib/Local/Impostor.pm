package Local::Impostor;

# Stands where a manager should, in a process of its own, and treats all who come alike.

use 5.030;
use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();

sub _start {
    my ($class, $treat) = @_;
    my $listener = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "listen: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $SIG{PIPE} = 'IGNORE';
        while (my $socket = $listener->accept) { eval { $treat->($socket); 1 } or print STDERR $@ }
        POSIX::_exit(0);
    }
    return bless { port => $listener->sockport, pid => $pid, owner => $$ }, $class;
}

sub port { return $_[0]{port} }

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local ($?, $!);
    kill KILL => $self->{pid};
    waitpid $self->{pid}, 0;
    return;
}

# What the client had to say is read, so that closing resets nothing.
sub _finish {
    my ($socket) = @_;
    shutdown $socket, 1;
    while (sysread $socket, my $bytes, 65_536) { }
    close $socket;
    return;
}

# Says this, and closes.
sub plain {
    my ($class, $says) = @_;
    return $class->_start(sub {
        my ($socket) = @_;
        syswrite $socket, $says if length $says;
        _finish($socket);
    });
}

# Says nothing, and does not close.
sub silent {
    my ($class) = @_;
    my @held;
    return $class->_start(sub { push @held, @_ });
}

# A server that has this key, takes any, says this, and closes.
sub tls {
    my ($class, $key, $says) = @_;
    return $class->_start(sub {
        my ($socket) = @_;
        my $ctx = Net::SSLeay::CTX_new();
        Net::SSLeay::CTX_use_certificate_file($ctx, $key, Net::SSLeay::FILETYPE_PEM()) or die "certificate\n";
        Net::SSLeay::CTX_use_PrivateKey_file($ctx, $key, Net::SSLeay::FILETYPE_PEM()) or die "key\n";
        Net::SSLeay::CTX_set_verify($ctx, Net::SSLeay::VERIFY_PEER(), sub { 1 });
        my $ssl = Net::SSLeay::new($ctx);
        Net::SSLeay::set_fd($ssl, fileno $socket);
        Net::SSLeay::write($ssl, $says) if Net::SSLeay::accept($ssl) == 1 && length $says;
        _finish($socket);
        Net::SSLeay::free($ssl);
        Net::SSLeay::CTX_free($ctx);
    });
}

1;
