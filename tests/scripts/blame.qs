# The three errors of each layer and its verdict beside one another: after a race, after an exact
# sensitivity, and after one whose answer was kept.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 12 --seed 3
run
layers --sort loo_gain --top 2 --columns sqnr,local_sqnr,weight_sqnr,loo_gain,only_effect,verdict
output ${OUT}/race.txt
sensitivity --top 3
output -
layers --sort loo_gain --columns sqnr,local_sqnr,weight_sqnr,loo_gain,only_effect,verdict
layers --sort only_effect --top 4 --columns loo_gain,only_effect,cause
layers --sort only_effect:desc --top 4 --columns loo_gain,only_effect
layers --sort loo_gain --top 1 --json
output ${OUT}/exact.txt
sensitivity --exact
output -
layers --sort loo_gain --columns loo_gain,only_effect
layers --sort loo_gain:asc --top 2 --columns loo_gain,evidence
layers --sort only_effect --top 1 --json
layers --sort local_sqnr --top 2 --columns local_sqnr
layers --sort weight_sqnr --top 2 --columns weight_sqnr
layers --sort verdict --top 2 --columns verdict
layers --sort cause --top 1 --columns cause
layers --sort evidence --top 1 --columns evidence
layers --where 'loo_gain > 1' --columns loo_gain
# The same models anew: what was measured is known.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
layers --sort loo_gain --top 1 --columns loo_gain,only_effect
run
output ${OUT}/again.txt
sensitivity --exact
output -
layers --sort loo_gain --columns loo_gain,only_effect
sensitivity --metric mse --ways only --top 2 --exact
layers --sort only_effect --top 2 --columns loo_gain,only_effect
sensitivity --metric agreement --ways only --top 2 --exact
layers --sort only_effect --top 2 --columns loo_gain,only_effect
