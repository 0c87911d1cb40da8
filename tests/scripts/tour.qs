# The README's walk, as printed.
source samples/scripts/tour.qs
