namespace AdvContrast.Bench.Steps;

/// <summary>A training step, as one side of a comparison runs it.</summary>
internal interface IStep
{
    /// <summary>Makes a training step.</summary>
    /// <returns>The loss.</returns>
    double Step();

    /// <summary>Computes what the sides of a comparison must agree in.</summary>
    StepResults Check();
}

/// <summary>What the sides of a comparison must agree in, from shared weights and images.</summary>
/// <param name="Loss">
/// The loss of the step where the first point of the attack takes the place of its last.
/// </param>
/// <param name="Objective">The objective of the attack at its first point, in float32.</param>
/// <param name="Reached">The objective at the adversarial images, in float32.</param>
/// <param name="Gradient">The gradient of the objective at the first point, as the attack takes it.</param>
internal sealed record StepResults(double Loss, double Objective, double Reached, float[] Gradient);
