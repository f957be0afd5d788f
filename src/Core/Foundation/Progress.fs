namespace AdvContrast.Core.Foundation

/// Where a run stands. Schedules are functions of it.
type Progress = {
    /// Steps done since the start of the run.
    Step: int64
    /// Epochs completed.
    Epoch: int
    /// Steps done in this epoch.
    StepInEpoch: int
    StepsPerEpoch: int
    /// Epochs in all.
    Epochs: int
} with

    /// Steps in all.
    member p.Steps = int64 p.StepsPerEpoch * int64 p.Epochs

    member p.IsFinished = p.Step >= p.Steps

[<RequireQualifiedAccess>]
module Progress =

    /// The start of a run.
    let start stepsPerEpoch epochs = {
        Step = 0L
        Epoch = 0
        StepInEpoch = 0
        StepsPerEpoch = stepsPerEpoch
        Epochs = epochs
    }

    /// One step further.
    let next p =
        let step = p.Step + 1L

        {
            p with
                Step = step
                Epoch = int (step / int64 p.StepsPerEpoch)
                StepInEpoch = int (step % int64 p.StepsPerEpoch)
        }

    /// A whole number of epochs, as the schedules of a run's first step of that epoch see it.
    let atEpoch epoch p = {
        p with
            Step = int64 epoch * int64 p.StepsPerEpoch
            Epoch = epoch
            StepInEpoch = 0
    }
