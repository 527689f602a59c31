package My::Task::Class;

# A task as a class: new takes its arguments, run does the work where a worker is.

use strict;
use warnings;

sub new { my ($class, @args) = @_; return bless {args => \@args}, $class }
sub run { my ($self) = @_; return scalar reverse "@{$self->{args}}" }

1;
