# exit: 5
# stderr
# args: --continue-on-error
# With --continue-on-error it goes on, but does not end with 0.
layers
echo reached
