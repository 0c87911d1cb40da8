# exit: 4
# stderr
# In a batch a job is waited for before another takes its place, and its failure is one of the batch.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 6
search --reach 200 --max-pins 1 /block4/dw/Conv &
run &
dataset clear
dataset add samples/images --limit 4 --seed 1
sensitivity /block4/dw/Conv &
run &
