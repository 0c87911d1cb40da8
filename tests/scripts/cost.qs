# exit: 0
# What layers cost; times differ from run to run and go to a file.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 4
cost --top 3
cost /block4/* --json
-select color time
-cost --measure --runs 0
output ${OUT}/cost.txt
cost --measure --runs 2 --image bar_0.png
output -
view graph ; select color time
