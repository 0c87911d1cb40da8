# exit: 3
# stderr
# A script stops at the first command that fails.
echo before
layers
echo not reached
