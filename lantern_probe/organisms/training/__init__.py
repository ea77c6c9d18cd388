"""Training of organisms: build, recipe, mixtures of rows, and the truth table that results.

`build`: tokenizer, processor and an untrained model. `layout`: scenes as teacher-forced sequences.
`mixtures`: the rows each kind is trained on, and `graded` those of the kinds in between. `recipe`:
the two stages of training. `generation`: a greedy loop apart from the toolkit's engine. `vision`:
images to features. `truth`: the answers of an organism under every condition. `bars`: what they
must be for each kind. Importing a module of this folder loads transformers.
"""
