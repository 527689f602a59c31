package Argon::Error;

use 5.030;
use strict;
use warnings;

use overload '""' => sub { $_[0]{message} }, fallback => 1;

our $VERSION = '0.1.0';

sub new {
    my ($class, %fields) = @_;
    return bless { message => '', may_have_run => 0, history => [], similar => [], %fields }, $class;
}

sub throw {
    my ($class, %fields) = @_;
    die $class->new(%fields);
}

for my $field (qw(
    message outcome kind type code backtrace stderr worker history may_have_run reason retries similar detail
    )) {
    no strict 'refs';
    *$field = sub { $_[0]{$field} };
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Error - why a task has no result

=head1 SYNOPSIS

    use Argon::Client;

    my $result = eval { $client->process('My::Task', [4, 7]) };
    if (my $error = $@) {
        warn "no result: $error";
        warn $error->backtrace if ref $error && $error->outcome eq 'failed';
    }

=head1 DESCRIPTION

As a string it is its message. If the task died with a string, that is the message, to the letter; if it died
with an object, what that object says as a string.

=head1 METHODS

=over

=item message

What happened, for people.

=item outcome

=over

=item failed

The task ran and raised an error, or its process was ended. See C<kind>.

=item expired, cancelled

Its deadline passed, or it was cancelled.

=item lost

Its worker was lost, as often as it may be: it may have run.

=item rejected

The manager refused it, and all retries are used up; it has not run. See C<reason>.

=item not_connected

No manager could be reached; it was not sent.

=item unusable

It is done, but its result is not one that Perl can read.

=back

=item kind

Of a failed task: C<raised> (by its own code), C<exit> or C<signal> (of a command), C<time_limit>,
C<memory_limit>, C<crashed>, C<unknown_task>, C<bad_payload>, C<result_too_large>.

=item type

Of C<raised>: the class of the error, or C<die> if it was a string. Errors of other languages have their
own names here.

=item code

Of C<exit> and C<signal>: the number.

=item backtrace, stderr

The trace that the runtime made, and the end of what its process said on standard error.

=item worker

Of a failed task: the worker that had it.

=item history

A list of what happened to earlier attempts: hashes with C<worker> and C<end>.

=item may_have_run

True if the task has, or may have, started.

=item reason, retries, similar

Of a rejected task: why, how often it was tried again, and names like the one that nobody runs.

=item detail

What the runtime adds: for Perl a hash with C<type> and C<args>; the data of a C<die> with an unblessed
reference is in C<args>.

=back

=head1 CONSTRUCTORS

=over

=item new(%fields), throw(%fields)

For Argon itself.

=back

=cut
