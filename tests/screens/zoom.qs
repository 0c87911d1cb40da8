# The picture of a view on the whole screen, and back.
source samples/scripts/open.qs
view images
zoom
screen --size 80x24 --ascii
back
view layer
zoom
screen --size 80x24 --ascii
back
screen --size 80x24 --ascii
