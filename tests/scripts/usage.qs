# exit: 2
# stderr
# Nothing is run when any line cannot be understood.
echo not reached
layres
