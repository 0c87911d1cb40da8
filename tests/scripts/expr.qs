# stderr
# Layers by pattern, rank, expression and mark; images by expression.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 6
run
layers --where 'sqnr<20 && op=="Conv"'
# A bare word behind == is a text, also one that no layer and no image has.
layers --where 'op == Gemm || op == Elsewhere'
layers --where 'op == Elsewhere'
images --where 'label == star'
images --where 'label == bar && fp32 == int8 && flip == none' --top 1
-layers --where 'sqrn < 20'
-images --where 'label < sqrn'
# What is compared with nothing does not hold, negated or not: the Softmax has no only_effect.
layers --where '!(only_effect > 0)'
layers --where 'sqnr<20 && op=="Conv"'
pin @1
pin '/block3/*'
pins
layers --where pinned
mark @2
pin @marked
unpin @pinned
pins
