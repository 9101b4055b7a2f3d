"""The only package that imports a backend: Keras without its noise, random state, gradients."""
