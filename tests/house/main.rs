//! Every model of the list: what its entry says of it holds, its gradients are those of its loss, its views agree with
//! each other, and what it is told matters.

mod entries;
mod gradients;
mod learned;
mod objectives;
mod step;
mod views;
