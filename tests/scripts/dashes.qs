# stderr
# Names that begin with a dash: quoted or behind '--' they are no options. Counts are not negative.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
-pin '--top'
-pin -- --top
-dataset add -- --limit
echo -- --a '--b'
alias narrow -- layers --top 1
alias
record show
