"""The benchmark as training data: pairs, transforms, sampler, cache and the torch data set."""
