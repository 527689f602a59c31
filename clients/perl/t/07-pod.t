# Every module and program has a manual, and every public function is in it.
use 5.030;
use strict;
use warnings;

use File::Find qw(find);
use FindBin;
use Pod::Checker;
use Test::More;

my $root = "$FindBin::Bin/..";
my @files = ("$root/bin/argon-pool");
find({ no_chdir => 1, wanted => sub { push @files, $_ if /\.pm\z/ } }, "$root/lib");
cmp_ok(scalar @files, '>', 14, 'there are files');

for my $file (sort @files) {
    my $name = $file =~ s{\A\Q$root/\E}{}r;
    my $checker = Pod::Checker->new(-warnings => 1, -quiet => 1);
    open my $nowhere, '>', \my $words or die "open: $!";
    $checker->parse_from_file($file, $nowhere);
    is($checker->num_errors, 0, "$name: the manual is well-formed") or diag($words);
    open my $in, '<:encoding(UTF-8)', $file or die "$file: $!";
    my ($code, $pod) = split /^__END__$/m, do { local $/; <$in> };
    like($pod // '', qr/^=head1 NAME\n\n\S+ - \S/m, "$name: it has a name");
    my @public = $code =~ /^\s*sub ([a-z]\w*)/mg;
    # Fields of errors have no sub of their own.
    my @missing = grep { $pod !~ /^=(?:item|head2)[^\n]*\b\Q$_\E\b|C<\Q$_\E\b/m } @public;
    is("@missing", '', "$name: all is documented");
}

done_testing;
