# stderr
# Layers raised to FP32 one by one, until a goal is met; the shortest prefix; what is not possible.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
-prefix
dataset add samples/images --limit 24 --seed 5
prefix --metric cosine --images 4
prefix --until top1_drop<=1
pin /block3/dw/Conv
suffix --until sqnr>=20
unpin @pinned
bisect --until sqnr>=20
bisect --until sqnr>=4
bisect --until agreement_drop<=5 --images 8
-bisect --until mse<=0
-bisect
-bisect --until sqnr
-prefix --until sqnr<=20
-prefix --until sqnr_drop<=1
-prefix --until top1_drop<=-1
-prefix --until top1>=70 --metric sqnr
