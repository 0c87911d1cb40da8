# What is loaded, chosen and pinned, to a file and back.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 9 --seed 2
set top 3 ; set word hello
mark --images star* ; mark /block4/pw/Conv
run
pin /block4/dw/Conv
pin /block3/dw/Conv
undo
sort cosine:desc ; view images ; sort images kl
session save ${OUT}/s.json
unload ; dataset clear ; set top 0 ; set word no ; view log
session open ${OUT}/s.json
echo ${word}
show top
dataset list
history
pins
redo
pins
screen images --ascii
session open ${OUT}/s.json --run
layers
session info ${OUT}/s.json
-session open samples/preprocess.json
