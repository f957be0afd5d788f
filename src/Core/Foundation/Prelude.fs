namespace AdvContrast.Core

open TorchSharp

/// A multi-dimensional array on some device, with autograd: TorchSharp's tensor under a short name.
type Tensor = torch.Tensor
