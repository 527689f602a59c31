package My::Task::Broken;

use strict;
use warnings;

sub new { return bless {} }
sub run { return $undeclared }

1;
