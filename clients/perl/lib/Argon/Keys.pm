package Argon::Keys;

use 5.030;
use strict;
use warnings;

use Argon::TLS;

our $VERSION = '0.1.0';

use constant {
    ENVIRONMENT  => 'ARGON_KEY',
    KEY_FILE_MAX => 65_536,    # bytes, some forty times what a key has: what is none is not read whole
    KEYS_MAX     => 16,        # the one in use, and those that are on their way in or out
    UNCHANGED    => 'it should be what `argon keygen` wrote, unchanged',
};

# The keys that a client was given, or those of the environment; nothing if there are none.
sub of {
    my ($class, $given) = @_;
    $given //= [split /,/, $ENV{ +ENVIRONMENT } // ''];
    my @files = grep { $_ ne '' } ref $given eq 'ARRAY' ? @$given : "$given";
    return @files ? $class->new(@files) : undef;
}

sub new {
    my ($class, @files) = @_;
    die 'a process has at most ' . KEYS_MAX . " keys\n" if @files > KEYS_MAX;
    my $self = bless { files => \@files, pipes => {}, texts => undef, told => '' }, $class;
    $self->_load;
    return $self;
}

# TLS for one more connection, with what is in the files by now. If that cannot be used (it may be half
# written), what was there before stays.
sub open {
    my ($self) = @_;
    local $@;
    if (eval { $self->_load; 1 }) {
        $self->{told} = '';
    } elsif ($@ ne $self->{told}) {
        $self->{told} = $@;
        warn 'argon: ' . $@ =~ s/\n\z//r . "; the keys stay as they were\n";
    }
    return Argon::TLS->new($self->{context});
}

sub _load {
    my ($self) = @_;
    my @texts = map { $self->_text($_) } @{ $self->{files} };
    my $all = join "\0", @texts;
    return if defined $self->{texts} && $all eq $self->{texts};
    my @bundles = map { _parsed($self->{files}[$_], $texts[$_]) } 0 .. $#texts;
    @$self{qw(context texts)} = (Argon::TLS->context(@bundles), $all);
    return;
}

# The text of a key file that nobody else can read.
sub _text {
    my ($self, $file) = @_;
    # A pipe says it once, and is for its two ends alone, whatever its mode.
    return $self->{pipes}{$file} if defined $self->{pipes}{$file};
    CORE::open(my $in, '<:raw', $file) or die "key file $file cannot be read ($!)\n";
    my $is_file = -f $in;
    my $mode = (stat $in)[2] & 0777;
    die sprintf "key file %s can be read by other users (mode %03o), so it is no secret; run `chmod 600 %s`, "
        . "and make a new one if somebody else may have read it\n", $file, $mode, $file
        if $is_file && $mode & 077;
    my $text = '';
    while (length $text <= KEY_FILE_MAX) {
        my $got = read($in, $text, KEY_FILE_MAX + 1 - length $text, length $text)
            // die "key file $file cannot be read ($!)\n";
        last if !$got;
    }
    die "key file $file has more than ${\ KEY_FILE_MAX} bytes, so it is no key; make one with `argon keygen`\n"
        if length $text > KEY_FILE_MAX;
    $self->{pipes}{$file} = $text if !$is_file;
    return $text;
}

# Takes a key apart: a certificate, its key, the authority's certificate, and maybe that's key.
sub _parsed {
    my ($file, $text) = @_;
    my $broken = sub { die "key file $file has a $_[0] that cannot be used; ${\ UNCHANGED}\n" };
    my (%parts, $found);
    while ($text =~ /(-----BEGIN ([A-Z0-9 ]+)-----\r?\n.*?-----END \2-----)/sg) {
        push @{ $parts{$2} }, "$1\n";
        $found++;
    }
    my $begun = () = $text =~ /-----BEGIN /g;
    $broken->('block of PEM') if $begun != ($found // 0);
    my @certificates = @{ delete $parts{'CERTIFICATE'} // [] };
    my @keys = @{ delete $parts{'PRIVATE KEY'} // [] };
    $broken->('block of another kind') if %parts;
    $broken->('block too many') if @certificates > 2 || @keys > 2;
    my %bundle = (certificate => $certificates[0], 'private key' => $keys[0],
        q(authority's certificate) => $certificates[1], broken => $broken);
    for my $part ('certificate', 'private key', q(authority's certificate)) {
        die "key file $file has no $part; it should be what `argon keygen` wrote, whole\n"
            if !defined $bundle{$part};
    }
    return \%bundle;
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Keys - the key files of a client

=head1 DESCRIPTION

A key file is what C<argon keygen> wrote: a certificate, its private key, and the certificate of the authority that
signed it. L<Argon::Client> is what programs give it to; L<Argon::TLS> uses it.

=head1 METHODS

All die with the reason, and a newline, if a file cannot be used.

=over

=item of($given)

The keys of a path or of several in an array; without them those that C<ARGON_KEY> in the environment names, with commas
between. Nothing if there are none.

=item new(@files)

Reads them. The first is shown to managers; the authorities of all are trusted.

=item open

An L<Argon::TLS> for one more connection. The files are read again for it; if they cannot be used by then, those
that were there before are, with a warning.

=back

=cut
