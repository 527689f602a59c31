# Keys, against the real program: who is let in over TLS, who is not, and what each is told.
use 5.030;
use strict;
use warnings;

use Argon::Simple ();
use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";
use Local::Cluster;
use Local::Impostor;
use Test::More;

argon();
plan skip_all => 'NO TEST OF KEYS: Net::SSLeay is missing (apt-get install libnet-ssleay-perl)'
    if !eval { require Net::SSLeay; 1 };

my $directory = tempdir(CLEANUP => 1);
my $made = 0;

# Puts a key into a file as a tool would: whole, and for nobody else.
sub put {
    my ($text, $path) = @_;
    $path //= "$directory/" . ++$made . '.key';
    umask 077;
    open my $out, '>', "$path.new" or die "$path.new: $!";
    print $out $text;
    close $out or die "$path.new: $!";
    rename "$path.new", $path or die "$path: $!";
    return $path;
}

sub text {
    my ($path) = @_;
    open my $in, '<', $path or die "$path: $!";
    local $/;
    return scalar <$in>;
}

# A key file: keygen() is a cluster's own, keygen($of, 'submit') a lesser one of it.
sub keygen {
    my ($of, @roles) = @_;
    my @options = $of ? ('--from', $of, map { ('--role', $_) } @roles) : ();
    push @options, '--name', 'alice' if @options;
    open my $out, '-|', argon(), 'keygen', @options or die "keygen: $!";
    local $/;
    return put(scalar <$out>);
}

# The certificate, its key, the authority's certificate, and maybe that's key.
sub blocks { return text($_[0]) =~ /(-----BEGIN .*?-----END [A-Z ]+-----\n)/sg }

my ($own, $foreign) = (keygen(), keygen());
my $alice = keygen($own, 'submit');
my ($leaf, $key, $authority) = blocks($alice);
my ($manager, $port) = manager(undef, '--key', $own);
my $worker = perl_worker($port, '--key', $own, '--workers', 2, '--allow-eval');

# What a client is told that cannot get in.
sub problem {
    my ($at, @options) = @_;
    my $client = client($at, connect_timeout => 0.5, @options);
    return 'it was let in' if eval { $client->connect; 1 };
    return "$@";
}

subtest 'tasks of all sizes complete' => sub {
    my $client = client($port, key => $alice);
    is($client->process(sub { $_[0] + $_[1] }, [4, 7]), 11, 'one');
    my @deferred = map { $client->defer('My::Task::Trial', ['echo', $_]) } 1 .. 3_000;
    is_deeply([map { $_->() } @deferred], [1 .. 3_000], 'thousands');
    worker($port, '--key', $own, '--name', 'commands', '--workers', 2);
    open my $random, '<:raw', '/dev/urandom' or die "random: $!";
    read $random, my $large, 6 << 20;
    my @large = map { $client->submit('echo', \$large) } 1 .. 3;
    is((scalar grep { $_->() eq $large } @large), 3, 'and megabytes');
};

subtest 'where keys come from' => sub {
    is(client($port, key => [$alice, $foreign])->process('My::Task::Trial', ['echo', 5]), 5, 'several');
    is(Argon::Simple::connect("127.0.0.1:$port", key => $alice)->process('My::Task::Trial', ['echo', 5]), 5,
        'Argon::Simple');
    is(Argon::Simple::connect('127.0.0.1', $port, key => $alice),
        Argon::Simple::connect("127.0.0.1:$port", key => $alice), 'in each form');
    is(Argon::Client->new(host => 'localhost', port => $port, key => $alice)->process('My::Task::Trial', ['echo', 5]), 5,
        'whatever the host is called');
    local $ENV{ARGON_KEY} = "$alice,$foreign";
    is(client($port)->process('My::Task::Trial', ['echo', 5]), 5, 'the environment');
    like(problem($port, key => []), qr/it wants a key/, 'which can be overruled');
    $ENV{ARGON_KEY} = '';
    like(problem($port), qr/it wants a key/, 'and may be empty');
};

subtest 'whose key it is' => sub {
    my $observer = client($port, key => keygen($own, 'submit', 'observe'));
    my %status = $observer->server_status;
    is_deeply([map { $_->{holder} } @{ $status{client_list} }], [('alice') x @{ $status{client_list} }], 'of clients');
    cmp_ok(scalar @{ $status{worker_list} }, '>', 0, 'there are workers');
    is((scalar grep { defined $_->{holder} } @{ $status{worker_list} }), 0, 'whose key says nothing');
    my $hidden = client($port, key => $alice)->server_status;
    is_deeply([@$hidden{qw(worker_list client_list)}], [[], []], 'not for who may only submit');
    cmp_ok($hidden->{workers}, '>', 0, 'who sees the sums');
};

subtest 'a restart of the manager' => sub {
    my $at = free_port();
    my ($first) = manager($at, '--key', $own);
    my $perl = perl_worker($at, '--key', $own, '--workers', 2);
    my $client = client($at, key => $alice);
    my @deferred = map { $client->defer('My::Task::Trial', ['sleep', 0.002]) } 1 .. 600;
    $_->() for @deferred[0 .. 49];
    stop($first);
    my ($second) = manager($at, '--key', $own);
    is_deeply([map { $_->() } @deferred], [('slept') x 600], 'nothing is lost');
    stop($_) for $perl, $second;
};

subtest 'keys are exchanged under load' => sub {
    my %new = (own => keygen());
    $new{submit} = keygen($new{own}, 'submit');
    my @theirs = (put(text($own)), put(text($new{own})));
    my @ours = (put(text($alice)), put(text($new{submit})));
    my @options = map { ('--key', $_) } @theirs;
    my ($guarded, $at) = manager(undef, @options);
    my $perl = perl_worker($at, @options, '--workers', 2);
    my $client = client($at, key => \@ours);
    my $link = $client->{session}->link;
    my @deferred = map { $client->defer('My::Task::Trial', ['sleep', 0.002]) } 1 .. 1_000;
    $_->() for @deferred[0 .. 19];
    # Both know both; then the new one is shown, and at last nobody knows the old one.
    for my $second ($own, $new{own}) {
        put(text($new{own}), $theirs[0]);
        put(text($second), $theirs[1]);
        put(text($new{submit}), $ours[0]);
        kill HUP => $guarded, $perl;
        # The manager has read them when who has only the old key is refused, or only the new one let in.
        my $probe = $second eq $own ? $new{submit} : $alice;
        my $wanted = $second eq $own ? qr/it was let in/ : qr/the manager refused our key/;
        until_true('they are read', sub { problem($at, key => [$probe, $new{submit}]) =~ $wanted });
        my $before = $link->{connection};
        $link->down(Argon::Link::now(), 'for this test');
        my $left = grep { !$_->is_finished } @deferred;
        cmp_ok($left, '>', 100, "in the middle: $left are left");
        until_true('it comes back', sub { $client->pump(0.01); $link->is_up });
        cmp_ok($link->{connection}, '>', $before, 'on a new connection');
    }
    is_deeply([map { $_->() } @deferred], [('slept') x 1_000], 'and nothing is lost');
    stop($_) for $perl, $guarded;
};

subtest 'a key that is half written' => sub {
    my $mine = put(text($alice));
    my $client = client($port, key => $mine);
    is($client->process('My::Task::Trial', ['echo', 1]), 1, 'all is well');
    put(substr(text($alice), 0, 500), $mine);
    my @said;
    local $SIG{__WARN__} = sub { push @said, @_ };
    for (1 .. 2) {
        $client->{session}->link->down(Argon::Link::now(), 'for this test');
        is($client->process('My::Task::Trial', ['echo', 2]), 2, 'the one before is used');
    }
    is(scalar @said, 1, 'with one warning');
    like($said[0], qr/^argon: key file \Q$mine\E has .*; the keys stay as they were$/, 'that says why');
};

subtest 'who is not let in' => sub {
    my ($plain, $at) = manager();
    my $ours = 'we refused the manager: its key comes from another authority than ours';
    like(problem($port), qr/refused: key required: it wants a key, and this client has none/, 'no key');
    like(problem($port, key => $foreign), qr/$ours/, 'a key of another authority');
    like(problem($port, key => [$foreign, $alice]), qr/the manager refused our key: it comes from an authority that/,
        'a key that the manager does not trust');
    like(problem($at, key => $alice), qr/before it had shown a key: it was started without one/,
        'a manager without a key');
    like(problem($port, key => keygen($own, 'observe')), qr/key does not have the role `submit`/, 'another role');
    like(problem($port, key => put($leaf . $key . (blocks($own))[0])), qr/we refused the manager/,
        q(the manager's own certificate is no authority));
    stop($plain);
};

subtest 'who is no manager' => sub {
    my $told = sub {
        my ($impostor, @options) = @_;
        return problem($impostor->port, @options, key => $alice);
    };
    like($told->(Local::Impostor->plain("220 mail.example ESMTP\r\n")),
        qr/the manager does not speak TLS: it was started without a key/, 'what does not speak TLS');
    like($told->(Local::Impostor->plain('')), qr/closed the connection before it had shown a key/, 'what closes');
    like($told->(Local::Impostor->silent), qr/no answer/, 'what says nothing');
    my $no_manager = qr/its key does not have the role `manage`, so it is not the manager/;
    like($told->(Local::Impostor->tls($alice, 'ARGN')), $no_manager, 'another client');
    like($told->(Local::Impostor->tls(named('other.argon'), 'ARGN')), $no_manager, 'a server by another name');
    my $no_argon = qr/what answers is no Argon manager, although it has a manager's key/;
    like($told->(Local::Impostor->tls($own, 'HTTP')), $no_argon, 'what says something else');
    like($told->(Local::Impostor->tls(named('manager.argon'), 'HTTP')), $no_argon, 'and has the right name');
    like($told->(Local::Impostor->tls($own, '')), qr/closed the connection when it had seen our key/,
        'what closes when it has seen the key');
    my (undef, undef, $other, $other_key) = blocks($foreign);
    my $impostor = Local::Impostor->tls($foreign, 'ARGN');
    like(problem($impostor->port, key => put($other . $other_key . $authority)), qr/we refused the manager/,
        'and what is shown is not trusted');
};

# The key of a server that our authority vouches for, as no `argon keygen` makes it.
sub named {
    my ($name) = @_;
    my $in = tempdir(CLEANUP => 1);
    put(join('', (blocks($own))[2, 3]), "$in/authority");
    put("subjectAltName=DNS:$name\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n", "$in/extensions");
    for my $command ('req -new -newkey ed25519 -nodes -keyout key -subj /CN=it -out request',
        'x509 -req -in request -CA authority -CAkey authority -set_serial 7 -days 2 -extfile extensions -out certificate') {
        system("cd $in && openssl $command 2>/dev/null") == 0 or die "openssl $command: $?";
    }
    return put(text("$in/certificate") . text("$in/key"));
}

subtest 'files that are no keys' => sub {
    my $refused = sub {
        my ($keys) = @_;
        return 'it was taken' if eval { Argon::Client->new(host => '127.0.0.1', port => 1, key => $keys); 1 };
        return "$@";
    };
    for my $mode (0640, 0604, 0620, 0777) {
        my $bare = put(text($alice));
        chmod $mode, $bare;
        like($refused->($bare), qr/^Argon::Client->new: key file \Q$bare\E can be read by other users \(mode ${\
            sprintf '%03o', $mode}\).*`chmod 600 \Q$bare\E`/, 'others can read it');
    }
    for (['', 'certificate'], ["hello\n", 'certificate'], [$key, 'certificate'], [$leaf, 'private key'],
        [$leaf . $authority, 'private key'], [$leaf . $key, q(authority's certificate)]) {
        my ($text, $missing) = @$_;
        my $part = put($text);
        like($refused->($part), qr/key file \Q$part\E has no $missing; /, "no $missing");
    }
    my $bad = sub { return "-----BEGIN $_[0]-----\nMIIBbroken\n-----END $_[0]-----\n" };
    for ([$leaf . $key . substr($authority, 0, 200), 'block of PEM'],
        [$leaf . $key . $authority =~ s/CERTIFICATE/X509 CRL/gr, 'block of another kind'],
        [$leaf . $key . $authority x 2, 'block too many'],
        [$bad->('CERTIFICATE') . $key . $authority, 'certificate'],
        [$leaf . $bad->('PRIVATE KEY') . $authority, 'private key'],
        [$leaf . (blocks($own))[1] . $authority, 'private key'],
        [$leaf . $key . $bad->('CERTIFICATE'), q(authority's certificate)]) {
        my ($text, $part) = @$_;
        my $broken = put($text);
        my $words = qr/key file \Q$broken\E has a $part that cannot be used/;
        like($refused->($broken), $words, $part);
        like($refused->([$alice, $broken]), $words, 'also if it is only trusted');
    }
    like($refused->("$directory/nowhere"), qr/nowhere cannot be read \(No such file/, 'nothing there');
    like($refused->($directory), qr/cannot be read \(Is a directory/, 'a directory');
    like($refused->(put(text($alice) . '#' x 65_536)), qr/has more than 65536 bytes, so it is no key/, 'too long');
    like($refused->([($alice) x 17]), qr/at most 16 keys/, 'too many');
    like($refused->($directory), qr/ at \Q$0\E line \d+\.$/, 'all from the point of view of who asked');
};

subtest 'a pipe will do' => sub {
    pipe my $out, my $in or die "pipe: $!";
    print $in text($alice);
    close $in;
    my $client = client($port, key => '/dev/fd/' . fileno $out);
    for (1 .. 2) {
        is($client->process('My::Task::Trial', ['echo', 1]), 1, 'as often as it takes');
        $client->{session}->link->down(Argon::Link::now(), 'for this test');
    }
};

subtest 'a perl without TLS' => sub {
    my ($plain, $at) = manager();
    my $perl = perl_worker($at, '--workers', 1);
    my $code = 'unshift @INC, sub { die "not here\n" if $_[1] eq "Net/SSLeay.pm"; return };'
        . ' my $c = Argon::Client->new(host => "127.0.0.1", port => shift);'
        . ' print $c->process("My::Task::Trial", ["echo", 5]), "\n";'
        . ' print eval { Argon::Client->new(host => "127.0.0.1", port => 1, key => shift) } ? "taken" : $@';
    open my $out, '-|', $^X, (map { "-I$_" } @INC), '-MArgon::Client', '-e', $code, $at, $alice or die "perl: $!";
    my @said = <$out>;
    is($said[0], "5\n", 'does without a key');
    like($said[1], qr/a key needs TLS, and this Perl does not have .*libnet-ssleay-perl, or libio-socket-ssl-perl/,
        'and says what a key takes');
    stop($_) for $perl, $plain;
};

done_testing;
