# Where settings come from, and a clipboard that a batch does not have.
set top 5
set name value
show top --origin
show name --origin
show numerics --origin --json
-show nothing --origin
-copy /block4/dw/Conv
set clipboard on
-copy /block4/dw/Conv
-set clipboard maybe
