//! Functions with a gradient of their own: one node of the autodiff graph instead of one for each operation inside.

use std::fmt::Debug;

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Backend, Cube, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::{Device, Tensor};

/// A function of `N` tensors whose gradient is known. The framework does not differentiate its inside.
///
/// Tensors here have `D` dimensions, by default three. Others are reshaped before and after; this copies nothing if the
/// tensor is contiguous.
pub(super) trait Function<const N: usize, const D: usize = 3>: Debug + Send + 'static {
    /// The values of the inputs and the result that the gradient needs.
    type Saved: Clone + Debug + Send + 'static;

    /// The result, and what is kept for the gradient.
    fn forward(&self, inputs: [Tensor<D>; N]) -> (Tensor<D>, Self::Saved);

    /// ∂L/∂input of each input from ∂L/∂result; it may be left out for an input that is not `wanted`.
    fn backward(&self, saved: Self::Saved, gradient: Tensor<D>, wanted: [bool; N]) -> [Option<Tensor<D>>; N];
}

/// The function of `inputs`; a node of the autodiff graph if any of them belongs to one.
pub(super) fn apply<const N: usize, const D: usize, F: Function<N, D>>(
    function: F,
    inputs: [Tensor<D>; N],
) -> Tensor<D> {
    if !inputs.iter().any(|input| input.is_autodiff()) {
        return function.forward(inputs).0;
    }
    let inputs = inputs.map(|input| if input.is_autodiff() { input } else { Tensor::from_inner(input) });
    match inputs[0].device().inner() == Device::flex() {
        true => tracked::<Flex, N, D, F>(function, inputs),
        false => tracked::<Cube, N, D, F>(function, inputs),
    }
}

fn tracked<B, const N: usize, const D: usize, F>(function: F, inputs: [Tensor<D>; N]) -> Tensor<D>
where
    B: Backend,
    F: Function<N, D>,
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    let parts = inputs.map(|input| {
        let tracked = input.try_into_primitive::<Autodiff<B>>().expect("its device was asked before");
        tracked.into_parts()
    });
    let mut values = Vec::with_capacity(N);
    let nodes = parts.map(|(value, node)| {
        values.push(Tensor::<D>::from_primitive::<B>(value));
        node
    });
    let values: [Tensor<D>; N] = values.try_into().expect("one for each input");
    let (result, saved) = function.forward(values);
    let result = primitive::<B, D>(result);
    let result =
        match Backward::<B, N>::prepare::<NoCheckpointing>(Node::<F, D>(function), nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(saved, result),
            OpsKind::UnTracked(prepared) => prepared.finish(result),
        };
    Tensor::from_primitive::<Autodiff<B>>(result)
}

fn primitive<B: Backend, const D: usize>(tensor: Tensor<D>) -> B::FloatTensorPrimitive
where
    DispatchTensor: DispatchKindConversion<B>,
{
    tensor.try_into_primitive::<B>().expect("a function's results lie where its inputs lie")
}

#[derive(Debug)]
struct Node<F, const D: usize>(F);

impl<B, F, const N: usize, const D: usize> Backward<B, N> for Node<F, D>
where
    B: Backend,
    F: Function<N, D>,
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
                gradients.register::<B>(parent.id, primitive::<B, D>(gradient));
            }
        }
    }
}
