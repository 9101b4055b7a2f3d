"""What signal propagation theory predicts: maps of variances, depth scales, and moments at finite width.

NumPy and SciPy suffice for the activation functions and initializers of Keras. Keras is imported only to evaluate a
function of the user's own, or to read an initializer that no row of :mod:`initcheck.models.initializers` knows.
"""
