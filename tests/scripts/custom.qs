# exit: 3
# stderr
# Names and keys of one's own, data to a file, what was recorded.
alias bad layers --sort sqnr
alias again 'bad --top 1 ; echo again'
bind layers w bad --top 2
bind * ^T 'echo one ; echo two'
alias ; bind
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
again
key w ^T
unbind layers w ; unalias bad
-again
bind layers
output ${OUT}/rows.csv
metrics --csv ; doctor
output -
layers --csv --top 1
layers --jsonl --top 1 --columns sqnr
history --json
-undo ; echo ignored
sort cosine ; ranks
pin @1
record show --top 3
record start ${OUT}/session.qs --now
undo
record stop
log --kind error
log --top 1 --json
source ${OUT}/session.qs
