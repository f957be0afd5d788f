namespace AdvContrast.Core.Foundation

/// A function with its printed form, so that a method card and a run's manifest can say what ran.
[<NoEquality; NoComparison>]
type Named<'f> = { Text: string; Run: 'f }

[<RequireQualifiedAccess>]
module Named =

    let create text run = { Text = text; Run = run }
