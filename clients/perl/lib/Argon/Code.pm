package Argon::Code;

use 5.030;
use strict;
use warnings;

use Argon::JSON;
use B ();
use B::Deparse;
use Scalar::Util qw(blessed reftype);

our $VERSION = '0.1.0';

# Sources that are kept, so that a sub that is shipped a thousand times is read once.
use constant CACHE_MAX => 64;
# The flag of a name that the sub took from around it.
use constant OUTER => (B->can('PADNAMEf_OUTER') // B->can('PADNAMEt_OUTER'))->();

my (%cache, @cached);

# What is shipped for $code: its source, and the values of the variables that it took from around it.
# Dies, saying why, if it cannot be.
sub pack_code {
    my ($code) = @_;
    my $cv = B::svref_2object($code);
    die "cannot ship this sub: it is built in, or written in C\n" if ref $cv->ROOT eq 'B::NULL';
    my $with = _captured($cv);
    return { code => _source($code, $cv), %$with ? (with => $with) : () };
}

sub _source {
    my ($code, $cv) = @_;
    # All closures that one `sub {...}` makes share its code. Another sub may come to be at the same
    # place when that is gone, but its first statement has another number.
    my $start = $cv->START;
    my $key = $start->isa('B::COP') ? join '-', ${ $cv->ROOT }, $start->cop_seq : undef;
    return $cache{$key} if defined $key && $cache{$key};
    # With lines, so that errors name the place in the program that shipped it.
    my $deparse = B::Deparse->new('-sCi4', '-l');
    my $before  = _package_variables($cv);
    if (_has_signature($cv)) {
        # It has to be in force before the sub begins, also for B::Deparse.
        $deparse->ambient_pragmas('%^H' => { feature_signatures => 1 });
        $before .= "use feature 'signatures'; no warnings; ";
    }
    my $text = eval { $deparse->coderef2text($code) };
    die "cannot ship this sub: its source cannot be had: $@" if !defined $text;
    my $source = $before eq '' ? "sub $text" : "do { ${before}sub $text }";
    if (defined $key) {
        delete $cache{ shift @cached } if @cached >= CACHE_MAX;
        push @cached, $key;
        $cache{$key} = $source;
    }
    return $source;
}

# Declarations of the package variables that the sub knows by `our`: B::Deparse leaves them out.
sub _package_variables {
    my ($cv) = @_;
    my ($names) = $cv->PADLIST->ARRAY;
    my $text = '';
    for my $name (grep { $_->can('OURSTASH') && ($_->FLAGS & B::SVpad_OUR) } $names->ARRAY) {
        next if !($name->FLAGS & OUTER) || !defined $name->PV;
        $text .= 'package ' . $name->OURSTASH->NAME . '; our ' . $name->PV . '; ';
    }
    return $text eq '' ? '' : $text . 'package main; ';
}

sub _has_signature {
    my ($cv) = @_;
    my $check = B::opnumber('argcheck');
    my @ops = $cv->ROOT->first;
    for (1 .. 3) {
        for my $op (@ops) {
            return 1 if $op->name eq 'argcheck' || $op->name eq 'null' && $op->targ == $check;
        }
        @ops = map { _kids($_) } @ops;
    }
    return 0;
}

sub _kids {
    my ($op) = @_;
    my @kids;
    return if !($op->flags & B::OPf_KIDS);
    for (my $kid = $op->first; $$kid; $kid = $kid->sibling) {
        push @kids, $kid;
        last if @kids >= 4;    # What checks arguments comes first.
    }
    return @kids;
}

# The variables that the sub closed over, by name with sigil, as what JSON can say.
sub _captured {
    my ($cv) = @_;
    my ($names, $values) = $cv->PADLIST->ARRAY;
    my @names  = $names->ARRAY;
    my @values = $values->ARRAY;
    my %with;
    for my $index (0 .. $#names) {
        my $name = $names[$index];
        next if !$name->can('FLAGS') || !($name->FLAGS & OUTER) || $name->isa('B::SPECIAL');
        my $text = $name->PV // next;
        next if $name->FLAGS & B::SVpad_OUR;
        my $value = $values[$index]->object_2svref;
        die "cannot ship this sub: it uses the sub $text from around it\n" if $text =~ /^&/;
        my $plain = $text =~ /^\$/ ? $$value : $value;
        # Here and not when all is sent, so that the message can name the variable.
        eval { Argon::JSON::encode($plain); 1 }
            or die "cannot ship this sub: it uses $text from around it, which holds ",
            $@ =~ s/ at \S+ line \d+\.?\n\z//r, "; pass what is needed of it as an argument\n";
        $with{$text} = $plain;
    }
    return \%with;
}

# The source of a sub that, given the values, makes the sub.
sub factory {
    my ($shipped) = @_;
    my $with = $shipped->{with} // {};
    my $lines = '';
    for my $name (sort keys %$with) {
        $name =~ /\A[\$\@%]\w+\z/ or die "a variable named $name\n";
        $lines .= $name =~ /^\$/ ? "my $name = \$_[0]{'$name'}; " : do {
            my $sigil = substr $name, 0, 1;
            "my $name = $sigil\{\$_[0]{'$name'}\}; ";
        };
    }
    return "package main; sub { $lines return $shipped->{code} }";
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Code - subs as source, to run them elsewhere

=head1 SYNOPSIS

    my $shipped = Argon::Code::pack_code(sub { $_[0] * $factor });
    my $factory = eval Argon::Code::factory($shipped);
    my $again   = $factory->($shipped->{with});

=head1 DESCRIPTION

A sub travels as its source, which L<B::Deparse> writes, with the C<use strict>, C<use warnings>, features and
C<package> that hold in it, and with the values of the lexical variables that it closes over.

=head2 What is shipped

=over

=item *

The code itself, with subs that are defined inside it.

=item *

Lexical variables from around it, if they hold C<undef>, numbers, strings, and arrays and hashes of such. They are
copies: what the task changes in them is not seen here.

=back

=head2 What is not

=over

=item *

Lexical variables that hold objects, code, file handles, patterns or references to scalars, and lexical subs. These are
noticed here, and C<pack_code> dies and names the variable.

=item *

Package variables (C<our>) and named subs outside the code. They are looked for where it runs. Put them into a module,
and C<require> that inside the code.

=item *

What was imported by C<use> outside the code. Write C<require> and the whole name inside it.

=item *

Source filters, and code that B::Deparse does not write correctly (its manual has a list).

=back

=head1 FUNCTIONS

=over

=item pack_code($code)

A hash: C<code>, and C<with> if there are variables.

=item factory(\%shipped)

Source of a sub that makes the sub again from the values in C<with>.

=back

=cut
