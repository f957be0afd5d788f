namespace AdvContrast.Core.Foundation

open TorchSharp
open AdvContrast.Core

/// CUDA-specific transfers and TF32.
[<RequireQualifiedAccess>]
module Accelerator =

    let private isCard (device: torch.Device) = device.``type`` = DeviceType.CUDA

    /// A tensor on a device; from memory to a card without waiting until it is there (page-locked).
    let send (device: torch.Device) (x: Tensor) =
        if isCard device && x.is_cpu () then
            Scope.tensor (fun () -> x.pin_memory().``to``(device, non_blocking = true))
        else
            x.``to`` device

    /// Whether a card's convolutions of float32 are computed in TF32, as PyTorch has it unless told otherwise; for
    /// the whole process. Products of matrices, so losses too, stay in float32.
    let convolveInTf32 (device: torch.Device) allowed =
        if isCard device then torch.backends.cudnn.allow_tf32 <- allowed
