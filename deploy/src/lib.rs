//! What it takes to run untoil; tests of the SSM documents it ships.
