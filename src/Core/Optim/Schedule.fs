namespace AdvContrast.Core

/// A number that may change as training goes on.
type Schedule = Named<Progress -> float>

[<RequireQualifiedAccess>]
module Schedule =

    /// The same number always.
    let constant (value: float) : Schedule = Named.create (sprintf "%g" value) (fun _ -> value)

    /// From the peak to the floor along half a cosine, per step (Loshchilov and Hutter 2017, eq. 5).
    let cosine (peak: float) (floor: float) : Schedule =
        Named.create (sprintf "cosine %g to %g" peak floor) (fun p ->
            let part = float p.Step / float (max 1L p.Steps)
            floor + 0.5 * (peak - floor) * (1.0 + cos (System.Math.PI * part)))

    /// Linear from 0 to the peak over the first epochs, per step and reaching its k-th part at the k-th step,
    /// then the other schedule over the epochs that are left.
    let warmUp epochs (after: Schedule) : Schedule =
        Named.create (sprintf "%d epochs of warm-up, then %s" epochs after.Text) (fun p ->
            let epochs = min epochs p.Epochs
            let steps = int64 epochs * int64 p.StepsPerEpoch

            let later = {
                p with
                    Epochs = p.Epochs - epochs
                    Epoch = p.Epoch - epochs
                    Step = p.Step - steps
            }

            if p.Step < steps then
                let start = after.Run { later with Step = 0L; Epoch = 0; StepInEpoch = 0 }
                start * float (p.Step + 1L) / float steps
            else
                after.Run later)
