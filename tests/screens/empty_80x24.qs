# Nothing loaded: the screen says what to do.
screen layers --size 80x24
screen images --size 80x24
