# Which layer is to blame: local errors, errors of weights, verdicts, the range audit.
verdicts
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
set jobs 1
show local
weights
weights /head/Gemm
audit --top 3
-weights /block3/Add
-weights *
preprocess samples/preprocess.json
dataset add samples/images --limit 8
run
layers --sort local_sqnr --top 4 --columns sqnr,local_sqnr,weight_sqnr,verdict
layers --sort verdict --top 4 --columns local_sqnr,cause
layers --where 'verdict == "CHANNEL SPREAD"' --columns evidence
audit
audit --sums --top 4
saturation --top 4
pin /block3/dw/Conv
run
layers --sort verdict --top 3 --columns local_sqnr,verdict,cause
set local off
run
layers --top 2 --columns sqnr,local_sqnr,verdict
-set local many
-channels /stem/Conv --sort local_sqnr
set local all
show local
layers --sort local_sqnr --top 1 --json
audit --top 1 --json
saturation --top 1 --json
weights --json
