package Local::FakeManager;

# A manager that says only what a test has it say, in the test's own process. The client is pumped
# between its looks, so nothing happens by chance.

use 5.030;
use strict;
use warnings;

use Argon::Wire qw(take_frame);
use Argon::Wire::Native;
use IO::Socket::INET;
use Time::HiRes qw(sleep time);

use constant PATIENCE => 30;

sub new {
    my ($class, %options) = @_;
    my $listener = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', Blocking => 0)
        or die "listen: $!";
    return bless {
        listener => $listener, port => $listener->sockport, epoch => 7, lease => 2e9,
        payload_max => 1_000, received => 0, heard => [], pong => 1, %options,
    }, $class;
}

sub port { return $_[0]{port} }

sub address { return "127.0.0.1:$_[0]{port}" }

# Takes in what has come, and answers pings.
sub look {
    my ($self) = @_;
    if (my $socket = $self->{listener}->accept) {
        $socket->blocking(0);
        @$self{qw(socket inbox at received)} = ($socket, '', 0, 0);
    }
    return if !$self->{socket};
    while (sysread $self->{socket}, $self->{inbox}, 65_536, length $self->{inbox}) { }
    while (my ($content, $body) = take_frame($self->{inbox}, $self->{at}, 1 << 20)) {
        my $message = Argon::Wire::Native::decode($content, $body);
        if ($message->{type} eq 'ping') {
            push @{ $self->{pings} }, $message;
            $self->say({ type => 'pong', nonce => $message->{nonce}, received => $self->{received} })
                if $self->{pong};
            next;
        }
        $self->{received}++ if $message->{type} ne 'hello';
        push @{ $self->{heard} }, $self->_singles($message);
    }
    return;
}

# A run as the submissions for which it stands, anything else as it is; notes of how many each message
# of either kind speaks, and which is the first.
sub _singles {
    my ($self, $message) = @_;
    return $message if $message->{type} !~ /^submit/;
    my @sizes = @{ $message->{sizes} // [length $message->{payload}] };
    push @{ $self->{runs} }, [$message->{seq}, scalar @sizes];
    my ($by, $at, @singles) = (0, 0);
    for my $size (@sizes) {
        my %single = (%$message, type => 'submit', seq => $message->{seq} + $by++,
            payload => substr $message->{payload}, $at, $size);
        delete $single{sizes};
        push @singles, \%single;
        $at += $size;
    }
    return @singles;
}

# Results of tasks, each so far above the first: [[$offset, $payload], ...].
sub completed_run {
    my ($self, $seq, $ends, %fields) = @_;
    return $self->say({
        type => 'outcome_run', seq => $seq, waited => 1, charged => 0, worker => 'w', content => 1,
        ends => [map { { offset => $_->[0], ran => 1, size => length $_->[1] } } @$ends],
        payload => join('', map { $_->[1] } @$ends), %fields,
    });
}

# A field that the message lacks is an error of the test, which would say something else than it means.
sub say {
    my ($self, $message) = @_;
    local $SIG{__WARN__} = sub { die @_ };
    return $self->raw(Argon::Wire::Native::encode($message));
}

sub raw {
    my ($self, $bytes) = @_;
    syswrite($self->{socket}, $bytes) == length $bytes or die "cannot say it: $!";
    return;
}

sub drop {
    my ($self) = @_;
    close delete $self->{socket};
    return;
}

# The next message of a type, while the client is pumped; what came before it is thrown away.
sub hear {
    my ($self, $client, $type) = @_;
    my $end = time + PATIENCE;
    while (time < $end) {
        $client->pump;
        $self->look;
        while (my $message = shift @{ $self->{heard} }) {
            return $message if $message->{type} eq $type;
        }
        sleep 0.001;
    }
    die "the client has not said $type\n";
}

# All that has been said by when the client has answered one more ping.
sub all {
    my ($self, $client, $type) = @_;
    my $until = time + 0.05;
    while (time < $until) {
        $client->pump(0.005);
        $self->look;
    }
    return grep { $_->{type} eq $type } splice @{ $self->{heard} };
}

sub welcome {
    my ($self, $client, %fields) = @_;
    my $hello = $self->hear($client, 'hello');
    $self->say({
        type  => 'welcome',      epoch       => $self->{epoch},       resumed => 0,
        lease => $self->{lease}, payload_max => $self->{payload_max}, %fields,
    });
    until ($client->{session}->link->is_up) { $client->pump(0.001) }
    return $hello;
}

sub completed {
    my ($self, $seq, $payload) = @_;
    return $self->say({ type => 'outcome', seq => $seq, outcome => 'completed', ran => 1,
        waited => 1, worker => 'w', charged => 0, content => 1, payload => $payload });
}

sub reject {
    my ($self, $seq, $reason, %fields) = @_;
    return $self->say({ type => 'reject', seq => $seq, reason => $reason, retry_after => 0,
        may_have_run => 0, similar => [], %fields });
}

1;
