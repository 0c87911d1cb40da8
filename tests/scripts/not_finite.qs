# exit: 2
# stderr
# A number that is none is found before anything runs.
echo not reached
search --reach nan
