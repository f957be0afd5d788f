namespace Expecto

/// How far apart two numbers may lie: |a - b| <= absolute + relative * max(|a|, |b|).
type Accuracy<'abs, 'rel> = { absolute: 'abs; relative: 'rel }

/// Accuracies by name.
[<RequireQualifiedAccess; CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module Accuracy =

    let private float64 absolute relative : Accuracy<float, float> = {
        absolute = absolute
        relative = relative
    }

    let private float32 absolute relative : Accuracy<float32, float32> = {
        absolute = absolute
        relative = relative
    }

    let inline areCloseLhs a b = abs (a - b)
    let inline areCloseRhs m a b = m.absolute + m.relative * max (abs a) (abs b)
    let inline areClose m a b = areCloseLhs a b <= areCloseRhs m a b

    let low () = float64 1e-6 1e-3
    let medium () = float64 1e-8 1e-5
    let high () = float64 1e-10 1e-7
    let veryHigh () = float64 1e-12 1e-9
    let mediumf () = float32 1e-5f 1e-3f
    let highf () = float32 1e-6f 1e-4f
    let veryHighf () = float32 1e-7f 1e-5f

/// The same for single precision.
[<RequireQualifiedAccess; CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module Accuracy32 =
    let low () : Accuracy<float32, float32> = { absolute = 1e-4f; relative = 1e-2f }
    let medium () = Accuracy.mediumf ()
    let high () = Accuracy.highf ()
    let veryHigh () = Accuracy.veryHighf ()
