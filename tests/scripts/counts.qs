# exit: 2
# stderr
# Counts are not negative, and it is found before anything runs.
echo not reached
layers --top -1
