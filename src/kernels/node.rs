//! Functions with a gradient of their own: one node of the autodiff graph instead of one for each operation inside.

use std::fmt::Debug;

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Backend, Cube, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::{Device, Tensor};

/// A function of `N` tensors whose gradient is known. Nothing in it is differentiated by the framework.
///
/// Tensors here have three dimensions; what has another number of them is reshaped on its way in and out, which copies
/// nothing.
pub(super) trait Function<const N: usize>: Debug + Send + 'static {
    /// What the gradient needs of the inputs and of the result.
    type Saved: Clone + Debug + Send + 'static;

    /// The result, and what is kept for the gradient.
    fn forward(&self, inputs: [Tensor<3>; N]) -> (Tensor<3>, Self::Saved);

    /// ∂L/∂input of each input from ∂L/∂result; of an input that is not `wanted` it may be left out.
    fn backward(&self, saved: Self::Saved, gradient: Tensor<3>, wanted: [bool; N]) -> [Option<Tensor<3>>; N];
}

/// The function of `inputs`; a node of the autodiff graph if any of them belongs to one.
pub(super) fn apply<const N: usize, F: Function<N>>(function: F, inputs: [Tensor<3>; N]) -> Tensor<3> {
    if !inputs.iter().any(|input| input.is_autodiff()) {
        return function.forward(inputs).0;
    }
    let inputs = inputs.map(|input| if input.is_autodiff() { input } else { Tensor::from_inner(input) });
    match inputs[0].device().inner() == Device::flex() {
        true => tracked::<Flex, N, F>(function, inputs),
        false => tracked::<Cube, N, F>(function, inputs),
    }
}

fn tracked<B, const N: usize, F>(function: F, inputs: [Tensor<3>; N]) -> Tensor<3>
where
    B: Backend,
    F: Function<N>,
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    let parts = inputs.map(|input| {
        let tracked = input.try_into_primitive::<Autodiff<B>>().expect("its device was asked before");
        tracked.into_parts()
    });
    let mut values = Vec::with_capacity(N);
    let nodes = parts.map(|(value, node)| {
        values.push(Tensor::<3>::from_primitive::<B>(value));
        node
    });
    let values: [Tensor<3>; N] = values.try_into().expect("one for each input");
    let (result, saved) = function.forward(values);
    let result = primitive::<B>(result);
    let result = match Backward::<B, N>::prepare::<NoCheckpointing>(Node(function), nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(saved, result),
        OpsKind::UnTracked(prepared) => prepared.finish(result),
    };
    Tensor::from_primitive::<Autodiff<B>>(result)
}

fn primitive<B: Backend>(tensor: Tensor<3>) -> B::FloatTensorPrimitive
where
    DispatchTensor: DispatchKindConversion<B>,
{
    tensor.try_into_primitive::<B>().expect("a function's results lie where its inputs lie")
}

#[derive(Debug)]
struct Node<F>(F);

impl<B, F, const N: usize> Backward<B, N> for Node<F>
where
    B: Backend,
    F: Function<N>,
    DispatchTensor: DispatchKindConversion<B>,
{
    type State = F::Saved;

    fn backward(self, ops: Ops<F::Saved, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let Ops { parents, node, state } = ops;
        let gradient = Tensor::from_primitive::<B>(gradients.consume::<B>(&node));
        let wanted = parents.each_ref().map(Option::is_some);
        let found = self.0.backward(state, gradient, wanted);
        for (parent, gradient) in parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<B>(parent.id, primitive::<B>(gradient));
            }
        }
    }
}
