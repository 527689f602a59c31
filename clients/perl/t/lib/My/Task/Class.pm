package My::Task::Class;

use strict;
use warnings;

sub new { my ($class, @args) = @_; return bless {@args % 2 ? () : @args}, $class }
sub run { my ($self) = @_; return { pid => $$, %$self } }

1;
