package Argon::TLS;

use 5.030;
use strict;
use warnings;

our $VERSION = '0.1.0';

use constant {
    MANAGER_NAME => 'manager.argon',    # what a manager's certificate is for; hosts' names play no part
    READY        => 'ARGN',             # what a manager says first when it has accepted a certificate
    RECORD       => 16_384,             # most bytes in one
    SEND_MAX     => 262_144,            # bytes made ready to be sent at a time
};

# As OpenSSL numbers what is wrong with a certificate: for another purpose, and for other names.
my %NOT_FOR_THIS = (26 => 1, 62 => 1);
my $NO_TLS = 'the manager does not speak TLS: it was started without a key; start it with --key, or leave the key '
    . 'out here';
my $NOT_OURS = 'we refused the manager: its key comes from another authority than ours; both need keys that come '
    . 'from the same `argon keygen`';
my $NO_MANAGER = 'we refused what answers: its key does not have the role `manage`, so it is not the manager';
my $NOT_THEIRS = 'the manager refused our key: it comes from an authority that the manager does not trust (any '
    . "more); get a key that was made from the manager's, or add ours to the manager's --key";
# What OpenSSL makes of bytes that are no record, by its release.
my $NO_RECORD = join '|', 'wrong version number', 'record layer failure', 'unexpected message',
    'packet length too long', 'https? (?:proxy )?request';
my $loaded;

# Only who has a key needs the module.
sub _load {
    return if $loaded;
    my $there = eval { require Net::SSLeay; 1 };
    die 'a key needs TLS, and this Perl does not have the module Net::SSLeay; install it (on Debian and Ubuntu: '
        . "apt-get install libnet-ssleay-perl, or libio-socket-ssl-perl, which brings it)\n" if !$there;
    Net::SSLeay::load_error_strings();
    Net::SSLeay::SSLeay_add_ssl_algorithms();
    my $new = eval {
        Net::SSLeay::TLS1_3_VERSION() && defined &Net::SSLeay::X509_VERIFY_PARAM_set1_host
            && defined &Net::SSLeay::get0_param;
    };
    die "a key needs TLS 1.3, and this Perl's Net::SSLeay $Net::SSLeay::VERSION does not have it; install one of "
        . "1.88 or later, with OpenSSL 1.1.1 or later\n" if !$new;
    $loaded = 1;
    return;
}

# What connections with these keys have in common.
sub context {
    my ($class, @bundles) = @_;
    _load();
    my $ctx = Net::SSLeay::CTX_new() or die "no TLS: ${\ _error()}\n";
    my $self = bless { ctx => $ctx }, 'Argon::TLS::Context';
    Net::SSLeay::CTX_set_min_proto_version($ctx, Net::SSLeay::TLS1_3_VERSION()) or die "no TLS 1.3: ${\ _error()}\n";
    Net::SSLeay::CTX_set_verify($ctx, Net::SSLeay::VERIFY_PEER());
    my $store = Net::SSLeay::CTX_get_cert_store($ctx);
    # The first is used last, and so stays. That of the others is only looked at: it is to be shown some day.
    for my $bundle (reverse @bundles) {
        my $broken = $bundle->{broken};
        my $certificate = _read($bundle->{certificate}, \&Net::SSLeay::PEM_read_bio_X509)
            // $broken->('certificate');
        my $used = Net::SSLeay::CTX_use_certificate($ctx, $certificate);
        Net::SSLeay::X509_free($certificate);
        $broken->('certificate') if !$used;
        my $key = _read($bundle->{'private key'}, \&Net::SSLeay::PEM_read_bio_PrivateKey)
            // $broken->('private key');
        $used = Net::SSLeay::CTX_use_PrivateKey($ctx, $key) && Net::SSLeay::CTX_check_private_key($ctx);
        Net::SSLeay::EVP_PKEY_free($key);
        $broken->('private key') if !$used;
        # The authority alone is trusted, never what it has signed.
        my $part = q(authority's certificate);
        my $authority = _read($bundle->{$part}, \&Net::SSLeay::PEM_read_bio_X509) // $broken->($part);
        my $added = Net::SSLeay::X509_STORE_add_cert($store, $authority);
        Net::SSLeay::X509_free($authority);
        $broken->($part) if !$added;
    }
    Net::SSLeay::ERR_clear_error();
    return $self;
}

sub Argon::TLS::Context::DESTROY {
    my ($self) = @_;
    Net::SSLeay::CTX_free($self->{ctx});
    return;
}

# A thing from its PEM, or nothing.
sub _read {
    my ($pem, $reader) = @_;
    my $bio = Net::SSLeay::BIO_new(Net::SSLeay::BIO_s_mem());
    Net::SSLeay::BIO_write($bio, $pem);
    my $thing = $reader->($bio);
    Net::SSLeay::BIO_free($bio);
    return $thing || undef;
}

# What the library has to say.
sub _error {
    my ($said, $code) = ('unknown error');
    while ($code = Net::SSLeay::ERR_get_error()) { $said = Net::SSLeay::ERR_error_string($code) }
    return $said;
}

sub new {
    my ($class, $context) = @_;
    my $ssl = Net::SSLeay::new($context->{ctx}) or die "no TLS: ${\ _error()}\n";
    my ($in, $out) = map { Net::SSLeay::BIO_new(Net::SSLeay::BIO_s_mem()) } 1 .. 2;
    my $self = bless {
        context => $context, ssl => $ssl, in => $in, out => $out, shaken => 0, ready => 0, said => '',
    }, $class;
    Net::SSLeay::set_bio($ssl, $in, $out);    # which are its own from here on
    Net::SSLeay::set_connect_state($ssl);
    Net::SSLeay::set_tlsext_host_name($ssl, MANAGER_NAME);
    Net::SSLeay::X509_VERIFY_PARAM_set1_host(Net::SSLeay::get0_param($ssl), MANAGER_NAME)
        or die "no check of names: ${\ _error()}\n";
    $self->receive('');
    return $self;
}

sub DESTROY {
    my ($self) = @_;
    Net::SSLeay::free($self->{ssl});
    return;
}

sub is_ready { return $_[0]{ready} }

# What is to be sent.
sub take {
    my ($self) = @_;
    my $bytes = '';
    while (my $pending = Net::SSLeay::BIO_pending($self->{out})) {
        $bytes .= Net::SSLeay::BIO_read($self->{out}, $pending);
    }
    return $bytes;
}

# Takes bytes of the protocol from the front of a buffer, as many as are sent at a time; returns what is to be sent
# for them.
sub send {
    my ($self, $buffer) = @_;
    my $part = substr $$buffer, 0, SEND_MAX, '';
    my $wrote = Net::SSLeay::write($self->{ssl}, $part);
    die "it could not be encrypted: ${\ _error()}\n" if $wrote != length $part;
    return $self->take;
}

# Takes in what came; returns what it says. Dies with the reason if that is an end.
sub receive {
    my ($self, $data) = @_;
    my ($ssl, $said) = ($self->{ssl}, '');
    Net::SSLeay::ERR_clear_error();
    Net::SSLeay::BIO_write($self->{in}, $data) if length $data;
    my $result = 1;
    if (!$self->{shaken}) {
        $result = Net::SSLeay::do_handshake($ssl);
        $self->{shaken} = 1 if $result == 1;
    }
    while ($result > 0) {
        (my $part, $result) = Net::SSLeay::read($ssl, RECORD);
        $said .= $part if $result > 0;
    }
    my $what = Net::SSLeay::get_error($ssl, $result);
    die $self->_explained . "\n"
        if $what != Net::SSLeay::ERROR_WANT_READ() && $what != Net::SSLeay::ERROR_ZERO_RETURN();
    return $said if $self->{ready};
    $self->{said} .= $said;
    # Before the hello a manager has nothing else to say.
    die "what answers is no Argon manager, although it has a manager's key\n" if index(READY, $self->{said}) != 0;
    $self->{ready} = 1 if $self->{said} eq READY;
    return '';
}

# What it means that the connection has ended before the manager has let us in.
sub cut {
    my ($self) = @_;
    return 'the manager closed the connection when it had seen our key; its log says why' if $self->{shaken};
    return 'the manager closed the connection before it had shown a key: it was started without one, or has too many '
        . 'strangers at its door';
}

# Which side refused the other, and what to do.
sub _explained {
    my ($self) = @_;
    my $error = _error();
    if ($error =~ /certificate verify failed/) {
        return $NOT_FOR_THIS{ Net::SSLeay::get_verify_result($self->{ssl}) } ? $NO_MANAGER : $NOT_OURS;
    }
    return $NOT_THEIRS
        if $error =~ /alert (?:unknown ca|bad certificate|decrypt error|certificate unknown|unsupported certificate)/;
    return $NO_TLS
        if !$self->{shaken} && $error =~ $NO_RECORD;
    return $error;
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::TLS - TLS of one connection to a manager

=head1 DESCRIPTION

The bytes of the network on one side, those of the protocol on the other; it has no socket. Needs L<Net::SSLeay>, which
is loaded when there is a key, and only then. What goes over the wire is in F<docs/protocol.md>, "Keys".

=head1 METHODS

=over

=item context(@bundles)

What connections with these keys have in common; for L<Argon::Keys>. Dies if Net::SSLeay is not there, or a part of
a key cannot be used.

=item new($context)

One connection.

=item take

What is to be sent now.

=item send(\$buffer)

Takes bytes of the protocol from the front of the buffer, and returns what is to be sent for them.

=item receive($data)

Takes in what came, in any portions, and returns what it says. Dies with the reason, for people, when there is
nothing more to expect.

=item is_ready

Whether the manager has let this key in. It says nothing else before.

=item cut

What it means that the connection has ended before.

=back

=cut
